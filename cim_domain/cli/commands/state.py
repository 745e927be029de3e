"""`state`: an aggregate as it is, or as it was."""

from typing import Annotated, Any

import typer
from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.options import (
    LARGEST,
    AggregateKey,
    AggregateName,
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Organization,
    Timeout,
    Url,
)
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.reading.keys import read_id
from cim_domain.cli.reading.moments import read_past
from cim_domain.cli.rendering.tables import facts, value_text
from cim_domain.cli.session import Session
from cim_domain.inspection.time_travel import (
    Past,
    as_of,
    state_fields,
)
from cim_domain.wire.codec import write_time


def state(
    domain: DomainName,
    aggregate: AggregateName,
    key: AggregateKey,
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
        time = None if at is None else read_past(at)
        found = read_domain(domain)
        model = found.aggregates.get(aggregate)
        identifier = read_id(found.name, organization_id, aggregate, key, model)
        async with session.log(found.name) as log:
            past = await as_of(found, log, aggregate, identifier, version=version, time=time)
        if session.json:
            session.output.document(_past_dict(aggregate, identifier, past))
        else:
            session.output.show(_past_table(identifier, past))

    session.run(work)


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
    rows = [(name, Text(escaped(value), style="cyan")) for name, value in known]
    rows += [(name, value_text(value)) for name, value in state_fields(past.state).items()]
    return facts(rows)
