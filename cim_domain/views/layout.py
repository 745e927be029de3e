"""What of a view becomes columns, and by what a stored layout is known to be another one."""

import json
import operator
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import reduce
from hashlib import blake2b
from typing import Any, TypeVar

import orjson
from attrs import frozen
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

from cim_domain.errors import Failed, Invalid, ModelError
from cim_domain.model.failures import model_code
from cim_domain.model.fields.types import is_bool, plain_types
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.read_back import Altered, stored_view
from cim_domain.model.source_location import where as where_of
from cim_domain.model.view import Scalar, View, fields_problems
from cim_domain.views.columns import (
    EXACT,
    SEPARATOR,
    Coding,
    Value,
    coding,
    folded,
    text_parts,
)
from cim_domain.views.generations import Code

V = TypeVar("V", bound=View)

ENCODING = 1
"""Counts the ways in which values have become columns; another one has all views built anew."""


def problem(path: str, sentence: str, code: str | None = None) -> Invalid:
    """The error for one part of a question."""
    return Invalid(
        f"{path}: {sentence}", code=code, details={"fields": [{"path": path, "message": sentence}]}
    )


@frozen
class Column:
    """One indexed field."""

    field: str
    coding: Coding
    optional: bool
    type: TypeAdapter[Any]
    """Of the values that it is compared with: a rule of the field's own concerns those it holds."""

    def compared(self, value: Scalar) -> Value:
        """What this value is in comparisons with the column; times and enums may be JSON's.

        Raises `Unheld` where nothing compares with it, and `ValueError` where it is of another
        type, with a sentence that has no value in it.
        """
        if value is None:
            return None
        if type(value) is self.coding.plain:
            return self.coding.compared(value)
        try:
            return self.coding.compared(self.type.validate_json(_json(value), strict=True))
        except ValidationError as error:
            sentence = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ValueError(sentence) from error
        except TypeError as error:
            raise ValueError(f"a {type(value).__name__} is not what the field has") from error


def _json(value: Any) -> bytes:
    """A value as JSON; unlike orjson, also with numbers of any size, and those that are none."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Decimal):
        return orjson.dumps(str(value))
    if isinstance(value, int | float):
        return json.dumps(value).encode()
    if isinstance(value, str):
        return json.dumps(value).encode()
    return orjson.dumps(value)


@frozen
class ViewLayout:
    """The columns of one view."""

    view: type[View]
    columns: Mapping[str, Column]
    searched: tuple[str, ...]

    def column(self, field: str) -> Column:
        """The column of a field; raises `ModelError` where it is not indexed."""
        if field not in self.columns:
            raise self.wrong(f"{field!r} is not indexed, so it is not asked")
        return self.columns[field]

    def wrong(self, sentence: str) -> ModelError:
        """The error for a question that the model's own code puts wrongly."""
        return ModelError(f"{self.view.__name__}: {sentence}")

    def values(self, view: View) -> list[Value]:
        """What stands in the columns for a view.

        Raises `Failed` for a value that no column can hold.
        """
        found: list[Value] = []
        for column in self.columns.values():
            value = getattr(view, column.field)
            try:
                found.append(None if value is None else column.coding.encode(value))
            except ValueError as error:
                raise unfit(self.view, column.field, error) from error
        return found

    def search_text(self, view: View) -> str:
        """The searched fields as one text, without regard to case."""
        found: list[str] = []
        for field in self.searched:
            value = getattr(view, field)
            if type(value) is str:
                found.append(folded(value))
            else:
                found.extend(map(folded, text_parts(value)))
        return SEPARATOR.join(found)

    def write(self, view: View) -> bytes:
        """A view as JSON. Raises `Failed` for one that JSON does not give back as it is."""
        try:
            return stored_view(view)
        except Altered as error:
            raise Failed(f"{where_of(self.view)}, {error}", code=UNFIT) from error


UNFIT = "view_value"
"""The code of the error with which views refuse a value that they cannot keep."""


def unfit(view: type[View], field: str, error: ValueError) -> Failed:
    """The error for a view that has a value which cannot be kept."""
    return Failed(f"{where_of(view)}, {field}: cannot be kept: {error}", code=UNFIT)


def refused_value(why: str) -> Failed:
    """The error for a view that has a value which the database does not take, now or later."""
    return Failed(f"the views: a value cannot be kept: {why}", code=UNFIT)


def _unreadable(view: type[View], error: ValidationError) -> Failed:
    """The error for a kept view that its class refuses."""
    return Failed(
        f"{where_of(view)}: what was stored does not fit the class ({error.error_count()}"
        " problems); raise the projection's version to have its views built anew",
        code="view_unreadable",
    )


def read_view(view: type[V], document: str | bytes) -> V:
    """A view from its JSON. Raises `Failed` where its class refuses it."""
    try:
        # As `model_validate_json`, which every view would pay for with a call more.
        with model_code:
            found: V = view.__pydantic_validator__.validate_json(document)
    except ValidationError as error:
        raise _unreadable(view, error) from error
    return found


def read_layout(view: type[View]) -> ViewLayout:
    """The layout of a view. Raises `ModelError` for fields that cannot be indexed or searched."""
    if found_wrong := fields_problems(view):
        raise ModelError(*(f"{where_of(view)}: {problem}" for problem in found_wrong))
    columns = {}
    for field in dict.fromkeys(view.indexed):
        annotation: Any = view.model_fields[field].annotation
        found = coding(annotation)
        if found is not None:  # or it would have been among the problems
            columns[field] = Column(
                field=field,
                coding=found,
                optional=_optional(annotation),
                type=TypeAdapter(_type(annotation)),
            )
    return ViewLayout(view, columns, tuple(dict.fromkeys(view.searched)))


def _type(annotation: Any) -> Any:
    """What is compared with a field: True is no number there, though it is an integer."""
    types = (bool,) if is_bool(annotation) else plain_types(annotation)
    return reduce(operator.or_, types)


def _optional(annotation: Any) -> bool:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    try:
        return adapter.validate_python(None) is None
    except ValidationError:
        return False


@frozen
class Layouts:
    """The layouts of a projection's views, and by what code these are made."""

    of: Mapping[type[View], ViewLayout]
    code: Code

    def __getitem__(self, view: type[View]) -> ViewLayout:
        if view not in self.of:
            raise ModelError(f"{where_of(view)} is not a view of this projection")
        return self.of[view]


def read_layouts(model: ProjectionModel) -> Layouts:
    """The layouts of all views of a projection. Raises `ModelError`."""
    layouts = {view: read_layout(view) for view in model.views}
    described = [[ENCODING, EXACT], *(_described(layout) for layout in layouts.values())]
    wire = orjson.dumps(described, option=orjson.OPT_SORT_KEYS)
    fingerprint = blake2b(wire, digest_size=16).hexdigest()
    return Layouts(layouts, Code(model.version, fingerprint, model.handles))


def _described(layout: ViewLayout) -> list[Any]:
    columns = [
        [column.field, column.coding.kind, column.optional] for column in layout.columns.values()
    ]
    schema = layout.view.model_json_schema(schema_generator=_AnySchema)
    return [layout.view.view_name, columns, layout.searched, _without_prose(schema)]


class _AnySchema(GenerateJsonSchema):
    """A schema also for types that JSON Schema has no word for."""

    def handle_invalid_for_json_schema(
        self, schema: CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        del error_info
        return {"x-core": schema["type"]}


def _without_prose(schema: Any) -> Any:
    """A schema without titles and descriptions: they may change and nothing is built anew."""
    if isinstance(schema, dict):
        return {
            name: _without_prose(part)
            for name, part in schema.items()
            if not (name in {"title", "description"} and isinstance(part, str))
        }
    if isinstance(schema, list):
        return [_without_prose(part) for part in schema]
    return schema
