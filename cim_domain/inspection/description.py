"""What a domain is made of, as plain values: its messages with their fields, and who uses them."""

import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cim_domain.json_values import json_value
from cim_domain.model.aggregate import AggregateModel
from cim_domain.model.domain import Domain
from cim_domain.model.messages import Event, Message
from cim_domain.model.process import ProcessModel
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.view import View


def description(domain: Domain) -> dict[str, Any]:
    """Aggregates with commands and events, projections with views and queries, processes.

    Everything fits into JSON. Of each field it has `name`, `type` as code has it, and `required`,
    or `default` where it has one.
    """
    return {
        "domain": domain.name,
        "aggregates": [_aggregate(one) for one in domain.aggregates.values()],
        "projections": [_projection(one) for one in domain.projections.values()],
        "processes": [_process(one) for one in domain.processes.values()],
        "interceptors": [one.name for one in domain.interceptors],
    }


def _aggregate(model: AggregateModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "key": list(model.key),
        "commands": [_message(one) for one in _in_order(model.commands)],
        "events": [_event(one) for one in _in_order(model.events)],
    }


def _projection(model: ProjectionModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "events": sorted(one.message_type for one in model.events),
        "views": [_view(one) for one in model.views],
        "queries": [
            {**_message(query), "aliases": list(query.aliases), "answer": _written(answer.returns)}
            for query, answer in sorted(
                model.queries.items(), key=lambda item: item[0].message_type
            )
        ],
    }


def _process(model: ProcessModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "history": model.history,
        "events": sorted(one.message_type for one in model.events),
        "commands": sorted(one.message_type for one in model.commands),
    }


def _event(event: type[Event]) -> dict[str, Any]:
    return {
        **_message(event),
        "version": event.schema_version,
        "formerly": list(event.former_types),
    }


def _view(view: type[View]) -> dict[str, Any]:
    return {
        "name": view.view_name,
        "indexed": list(view.indexed),
        "searched": list(view.searched),
        "fields": _fields(view),
    }


def _message(message: type[Message]) -> dict[str, Any]:
    return {"type": message.message_type, "fields": _fields(message)}


def _fields(model: type[BaseModel]) -> list[dict[str, Any]]:
    found = []
    for name, field in model.model_fields.items():
        told: dict[str, Any] = {
            "name": field.alias or name,
            "type": _written(field.annotation),
            "required": field.is_required(),
        }
        if field.default is not PydanticUndefined:
            told["default"] = json_value(field.default)
        found.append(told)
    return found


def _in_order(messages: Mapping[type[Any], Any] | Iterable[type[Any]]) -> list[type[Any]]:
    return sorted(messages, key=lambda one: str(one.message_type))


def _written(annotation: Any) -> str:
    """A type as code has it: ``str | None``, ``Page[OrderView]``."""
    if annotation is None or annotation is type(None):
        return "None"
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        return " | ".join(map(_written, arguments))
    if hasattr(annotation, "__metadata__"):
        return _written(arguments[0])
    if origin is not None and arguments:
        inner = ", ".join("..." if one is ... else _written(one) for one in arguments)
        return f"{getattr(origin, '__name__', str(origin))}[{inner}]"
    return str(getattr(annotation, "__name__", repr(annotation)))
