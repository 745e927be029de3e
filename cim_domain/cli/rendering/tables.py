"""How outcomes, events, reports of health and other tables look to people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.highlighter import JSONHighlighter
from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.output import columns, json_text
from cim_domain.errors import RequestError
from cim_domain.model.metadata import Metadata
from cim_domain.model.records import EventRecord
from cim_domain.wire.codec import write_time
from cim_domain.wire.outcome import Outcome

COLOURS = {
    "accepted": "green",
    "healthy": "green",
    "ok": "green",
    "live": "green",
    "degraded": "yellow",
    "warn": "yellow",
    "catching_up": "yellow",
    "waiting": "yellow",
    "conflict": "yellow",
    "rejected": "red",
    "invalid": "red",
    "failed": "red",
    "fail": "red",
    "unhealthy": "red",
    "stopped": "red",
}

_DETAILS = 20


def status(word: object) -> Text:
    """A word for how something fares, in its colour."""
    text = escaped(str(word))
    return Text(text, style=COLOURS.get(text, ""))


def outcome_panel(outcome: Outcome) -> Text:
    """What came of a command."""
    known = [
        ("command", outcome.command_id),
        ("correlation", outcome.correlation_id),
        ("aggregate", outcome.aggregate_id),
        ("version", outcome.version),
        ("sequence", outcome.sequence),
    ]
    rows = [("status", status(outcome.status))]
    rows += [(name, Text(escaped(str(value)))) for name, value in known if value is not None]
    for event in outcome.events:
        rows.append(("event", Text(escaped(f"{event.type} {event.id}"), style="cyan")))
    if outcome.error is not None:
        rows += error_rows(outcome.error)
    return facts(rows)


def error_rows(error: RequestError) -> list[tuple[str, Text]]:
    """Why something was refused: the code, the reason, and each field that is wrong."""
    rows = [("code", Text(escaped(error.code), style="red"))]
    rows.append(("reason", Text(escaped(error.message))))
    fields = error.details.get("fields")
    for found in fields[:_DETAILS] if isinstance(fields, list) else ():
        if isinstance(found, dict):
            problem = f"{found.get('path') or '(the whole)'}: {found.get('message')}"
            rows.append(("field", Text(escaped(problem), style="yellow")))
    return rows


def result(value: Any) -> Text:
    """A query's result, indented."""
    text = Text(json_text(value, indent=2))
    JSONHighlighter().highlight(text)
    return text


def event_line(record: EventRecord, width: int = 6) -> Text:
    """An event on one line: sequence, time, type, id and version of the aggregate, fields; and
    whose doing it is, and what else its client said of it.

    `width` is how many columns the sequence takes at least.
    """
    metadata = record.metadata
    fields = escaped(record.data.decode(errors="replace"))
    return Text.assemble(
        (f"{metadata.sequence:>{width}} ", "bold"),
        (f"{write_time(metadata.timestamp)} ", "dim"),
        (escaped(metadata.message_type), "cyan"),
        f" {escaped(metadata.aggregate_id or '-')}",
        (f" v{metadata.aggregate_version} ", "dim"),
        fields,
        (_own(metadata), "dim"),
    )


def event_dict(record: EventRecord) -> dict[str, Any]:
    """An event for programs; `data` is its own fields, or text where they are no JSON."""
    metadata = record.metadata
    return {
        "sequence": metadata.sequence,
        "id": metadata.message_id,
        "type": metadata.message_type,
        "timestamp": write_time(metadata.timestamp),
        **_ids(metadata),
        "aggregate_version": metadata.aggregate_version,
        "schema_version": metadata.schema_version,
        "meta": dict(metadata.meta),
        "data": _fields(record.data),
    }


def health_report(report: Mapping[str, Any]) -> Text:
    """A service's health, one line for each check."""
    head = Text.assemble(
        (escaped(str(report.get("service", "service"))), "bold"),
        f" {escaped(str(report.get('version', '')))} ",
        status(report.get("status")),
    )
    checks = report.get("checks")
    rows = [
        (f"  {name}", status(check.get("status")), _listed(check))
        for name, check in (checks.items() if isinstance(checks, dict) else ())
        if isinstance(check, dict)
    ]
    return Text("\n").join([head, columns(rows)]) if rows else head


def table(header: Sequence[str], rows: Sequence[Sequence[Text | str]]) -> Text:
    """Rows below a header."""
    return columns([[Text(name, style="bold") for name in header], *rows])


def _listed(check: Mapping[str, Any]) -> str:
    found = (f"{name}={_short(value)}" for name, value in check.items() if name != "status")
    return " ".join(found)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def facts(rows: Sequence[tuple[str, Text]]) -> Text:
    """Names and values, a line for each."""
    return columns([(Text(name, style="dim"), value) for name, value in rows])


def _own(metadata: Metadata) -> str:
    actor = f" by {escaped(metadata.actor_id)}" if metadata.actor_id else ""
    return actor + "".join(
        f" {escaped(name)}={escaped(value)}" for name, value in metadata.meta.items()
    )


def _ids(metadata: Metadata) -> dict[str, str | None]:
    return {
        "correlation_id": metadata.correlation_id,
        "causation_id": metadata.causation_id,
        "aggregate_id": metadata.aggregate_id,
        "organization_id": metadata.organization_id,
        "actor_id": metadata.actor_id,
    }


def _fields(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")


def value_text(value: object) -> Text:
    """A value of any kind, as JSON."""
    return Text(json_text(value))
