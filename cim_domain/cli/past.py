"""`state` and `history`: an aggregate as it is, as it was, and how it came to be so."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from cim_domain.cli.keys import read_id
from cim_domain.cli.options import (
    LARGEST,
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Organization,
    Timeout,
    Url,
)
from cim_domain.cli.output import json_text
from cim_domain.cli.rendering import event_dict, event_line, facts
from cim_domain.cli.session import Session, usage
from cim_domain.codec import write_time
from cim_domain.domain import Domain
from cim_domain.errors import NotFound
from cim_domain.messages import Event
from cim_domain.metadata import Recorded
from cim_domain.printable import printable
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import EventRecord, EventStore
from cim_domain.subjects import Subjects
from cim_domain.time_travel import Changed, Past, as_of, changes, history_of, state_fields

Kind = Annotated[
    str, typer.Argument(metavar="AGGREGATE", help="Which kind of aggregate, such as flake.")
]
Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="Its key or its id; a key of several parts: a JSON array."),
]


def state(
    domain: DomainName,
    aggregate: Kind,
    key: Key,
    *,
    version: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=LARGEST, help="As it was after so many events."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As it was at a time: 2026-11-21T08:30:00Z."),
    ] = None,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show an aggregate as it is, or as it was: what its events say, with the code of today.

    [bold]Examples[/bold]

      cim-domain state nix flake /srv/web

      cim-domain state nix flake /srv/web --version 2

      cim-domain state nix flake /srv/web --at 2026-11-21T08:30:00+01:00

    Exit code 1: there is none, or there was none yet. Needs the domain's code.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        time = None if at is None else _time(at)
        found = Domain.find(domain)
        identifier = read_id(domain, organization_id, aggregate, key)
        async with _log(session, domain) as log:
            past = await as_of(found, log, aggregate, identifier, version=version, time=time)
        if session.json:
            session.output.document(_past_dict(aggregate, identifier, past))
        else:
            session.output.show(_past_table(identifier, past))

    session.run(work)


def history(
    domain: DomainName,
    aggregate: Kind,
    key: Key,
    *,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show each event of an aggregate, and what it changed of the aggregate's state.

    [bold]Example[/bold]

      cim-domain history nix flake /srv/web

    With [bold]--json[/bold] each event is a line of JSON, with the changes by field. Exit code 1:
    there is none. Needs the domain's code.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        found = Domain.find(domain)
        identifier = read_id(domain, organization_id, aggregate, key)
        async with _log(session, domain) as log:
            before = None
            async with aclosing(history_of(found, log, aggregate, identifier)) as events:
                async for recorded, after in events:
                    was = before or found.aggregates[aggregate].initial
                    _show_step(session, recorded, changes(was, after))
                    before = after
        if before is None:
            raise NotFound(f"the {aggregate} {identifier} has no event")

    session.run(work)


@asynccontextmanager
async def _log(session: Session, domain: str) -> AsyncIterator[EventStore]:
    settings = session.settings()
    async with session.link(settings) as link:
        yield JetStreamEvents(link, Subjects(domain, settings.subject_prefix))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        usage(f"--at: {text!r} is no time; expected 2026-11-21T08:30:00Z")
    if time.tzinfo is None:
        usage(f"--at: {text!r} could be any time: add the time zone, Z or +01:00")
    return time


def _past_dict(aggregate: str, identifier: str, past: Past) -> dict[str, Any]:
    last = past.last
    return {
        "aggregate": aggregate,
        "aggregate_id": identifier,
        "version": past.version,
        "timestamp": write_time(last.timestamp),
        "sequence": last.sequence,
        "event": {"id": last.message_id, "type": last.message_type},
        "state": state_fields(past.state),
    }


def _past_table(identifier: str, past: Past) -> Text:
    last = past.last
    known = [
        ("aggregate", identifier),
        ("version", str(past.version)),
        ("time", write_time(last.timestamp)),
        ("last event", f"{last.message_type} {last.message_id} (sequence {last.sequence})"),
    ]
    rows = [(name, Text(printable(value), style="cyan")) for name, value in known]
    rows += [(name, _value(value)) for name, value in state_fields(past.state).items()]
    return facts(rows)


def _show_step(session: Session, recorded: Recorded[Event], changed: dict[str, Changed]) -> None:
    record = EventRecord(recorded.metadata, recorded.event.model_dump_json().encode())
    if session.json:
        found = {name: {"before": one.before, "after": one.after} for name, one in changed.items()}
        session.output.document({**event_dict(record), "changes": found})
        return
    session.output.show(event_line(record))
    for name, one in changed.items():
        line = Text.assemble(
            "         ", (f"{name} ", "dim"), _value(one.before), " → ", _value(one.after)
        )
        session.output.show(line)


def _value(value: object) -> Text:
    return Text(json_text(value))
