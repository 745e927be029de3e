"""`events`: what happened in a domain, as its log tells it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

import typer

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
from cim_domain.cli.reading.domain import name_and_code, read_domain
from cim_domain.cli.reading.keys import read_id
from cim_domain.cli.rendering.causation import causation_tree
from cim_domain.cli.rendering.tables import event_dict, event_line
from cim_domain.cli.session import Session
from cim_domain.client import DomainClient
from cim_domain.errors import LoadError, ModelError, NotFound, RequestError
from cim_domain.inspection import rejections
from cim_domain.model.domain import Domain
from cim_domain.model.records import EventRecord


def events(
    domain: DomainName,
    *,
    aggregate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="TYPE KEY",
            help="Only of one aggregate, by its id or by its key; a key of several parts is a JSON"
            " array.",
        ),
    ] = None,
    correlation: Annotated[
        UUID | None,
        typer.Option(metavar="ID", help="Only of one correlation, as a tree of what caused what."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")
    ] = False,
    after: Annotated[
        int,
        typer.Option(metavar="SEQ", min=0, max=LARGEST, help="Only what is behind this sequence."),
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many events.")
    ] = None,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the events of a domain, oldest first.

    [bold]Examples[/bold]

      cim-domain events nix --after 100 --limit 20

      cim-domain events nix --aggregate flake /srv/web

      cim-domain events nix --aggregate package '["nixpkgs", "hello"]'

      cim-domain events nix --correlation 6f9a3a52-8df2-4d0a-9b6e-0f7c4b3b8a11

      cim-domain events nix --follow --json

    With [bold]--json[/bold] each event is a line of JSON.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug, stream=True)

    async def work() -> None:
        correlation_id = str(correlation) if correlation else None
        name, code = name_and_code(domain)
        wanted = _Wanted(name, code, aggregate, organization_id, correlation_id)
        async with session.client(name) as client:
            source = wanted.source(client, after, follow=follow)
            async with aclosing(source) as found:
                if correlation_id is not None and not follow and not json:
                    records = [record async for record in _first(found, limit)]
                    processes = _processes(session, code, name)
                    rejected = await _rejected(session, client, records, processes)
                    tree = causation_tree(correlation_id, records, processes, rejected)
                    session.output.show(tree)
                    return
                async for record in _first(found, limit):
                    _show(session, record)

    session.run(work)


class _Wanted:
    """Which events are asked for."""

    def __init__(
        self,
        domain: str,
        code: Domain | None,
        aggregate: tuple[str, str] | None,
        organization_id: str | None,
        correlation: str | None,
    ) -> None:
        model = code.aggregates.get(aggregate[0]) if code and aggregate else None
        self._aggregate = aggregate and (
            aggregate[0],
            read_id(domain, organization_id, aggregate[0], aggregate[1], model),
        )
        self._organization_id = organization_id
        self._correlation = correlation

    async def source(
        self, client: DomainClient, after: int, *, follow: bool
    ) -> AsyncGenerator[EventRecord, None]:
        """Those events."""
        if self._aggregate is not None and not follow:
            for record in await client.history(*self._aggregate):
                if record.metadata.sequence > after and self._has(record):
                    yield record
            return
        everything = client.follow(after) if follow else client.events(after)
        async with aclosing(everything) as found:
            async for record in found:
                if self._has(record):
                    yield record

    def _has(self, record: EventRecord) -> bool:
        metadata = record.metadata
        kind = metadata.message_type.split(".")[0]
        return (
            self._aggregate in {None, (kind, metadata.aggregate_id)}
            and self._correlation in {None, metadata.correlation_id}
            and self._organization_id in {None, metadata.organization_id}
        )


async def _first(
    source: AsyncGenerator[EventRecord, None], limit: int | None
) -> AsyncGenerator[EventRecord, None]:
    number = 0
    async for record in source:
        yield record
        number += 1
        if number == limit:
            return


def _show(session: Session, record: EventRecord) -> None:
    if session.json:
        session.output.document(event_dict(record))
    else:
        session.output.show(event_line(record))


async def _rejected(
    session: Session, client: DomainClient, records: list[EventRecord], processes: tuple[str, ...]
) -> Mapping[str, RequestError]:
    """The commands of processes that were rejected, as far as the service knows."""

    async def rejection(command_id: str, organization_id: str | None) -> RequestError | None:
        try:
            found = await client.status(command_id, organization_id=organization_id)
        except NotFound:
            return None
        return found.error if found.state == "rejected" else None

    try:
        return await rejections(records, processes, rejection)
    except RequestError as error:
        session.output.note(f"commands that were rejected are not shown: {error.message}")
        return {}


def _processes(session: Session, domain: Domain | None, name: str) -> tuple[str, ...]:
    """The names of the domain's processes, where its code is at hand."""
    try:
        return tuple((domain or read_domain(name)).processes)
    except ModelError as error:
        if not (isinstance(error, LoadError) and error.code == "domain_not_found"):
            session.output.note(f"the names of processes are not known: {error}")
        return ()
