"""What a domain is made of, as people see it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.output import json_text

_Told = Mapping[str, Any]


def described(domain: _Told) -> Text:
    """See `cim_domain.inspection.description`: a line for each part, and for each field."""
    return Text("\n").join([Text(domain["domain"], style="bold"), *_lines(domain)])


def _lines(domain: _Told) -> Iterator[Text]:
    for one in domain["aggregates"]:
        yield from _heading("aggregate", one["name"], f"by {', '.join(one['key'])}")
        for command in one["commands"]:
            yield from _part("command", command["type"], "", command["fields"])
        for event in one["events"]:
            version = f"version {event['version']}" if event["version"] > 1 else ""
            former = f"formerly {', '.join(event['formerly'])}" if event["formerly"] else ""
            yield from _part(
                "event", event["type"], " ".join(filter(None, (version, former))), event["fields"]
            )
    for one in domain["projections"]:
        yield from _heading("projection", one["name"], f"version {one['version']}")
        yield from _names("on", one["events"])
        for view in one["views"]:
            found = f"found by {', '.join(view['indexed'])}" if view["indexed"] else ""
            yield from _part("view", view["name"], found, view["fields"])
        for query in one["queries"]:
            yield from _part("query", query["type"], f"gives {query['answer']}", query["fields"])
    for one in domain["processes"]:
        yield from _heading("process", one["name"], "from the first event" * one["history"])
        yield from _names("on", one["events"])
        yield from _names("sends", one["commands"])
    if domain["interceptors"]:
        yield from _heading("interceptors", "", "")
        yield from _names("", domain["interceptors"])


def _heading(kind: str, name: str, more: str) -> Iterator[Text]:
    yield Text()
    yield Text.assemble((f"{kind} ", "dim"), (escaped(name), "bold"), (f" {escaped(more)}", "dim"))


def _part(kind: str, name: str, more: str, fields: Sequence[_Told]) -> Iterator[Text]:
    yield Text.assemble(
        (f"  {kind:<8}", "dim"), (escaped(name), "cyan"), (f" {escaped(more)}".rstrip(), "dim")
    )
    width = max((len(field["name"]) for field in fields), default=0)
    for field in fields:
        default = f" = {json_text(field['default'])}" if "default" in field else ""
        yield Text.assemble(
            f"    {escaped(field['name']):<{width}}  {escaped(field['type'])}", (default, "dim")
        )


def _names(word: str, names: Sequence[str]) -> Iterator[Text]:
    for name in names:
        yield Text.assemble((f"  {word:<8}" if word else "  ", "dim"), (escaped(name), "cyan"))
