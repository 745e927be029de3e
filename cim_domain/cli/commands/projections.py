"""`projections`: how far each has read, and building one anew beside the one that is in use."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cim_domain.cli.exit_codes import usage
from cim_domain.cli.options import Config, DataDirectory, Debug, DomainName, Json, Timeout, Url
from cim_domain.cli.reading.domain import read_domain, read_domain_name
from cim_domain.cli.reading.running import running_parts
from cim_domain.cli.rendering.tables import status, table
from cim_domain.cli.session import Session
from cim_domain.client import DomainClient
from cim_domain.errors import ConfigurationError, Conflict, NotFound
from cim_domain.model.domain import Domain
from cim_domain.model.projection import ProjectionModel
from cim_domain.model.subjects import Subjects
from cim_domain.nats.config.settings import NatsSettings
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.dead_letters import StreamDeadLetters
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.projections.status import ProjectionStatus
from cim_domain.service.adapters import open_views, sqlite_views_path
from cim_domain.service.settings import ServiceSettings, load_service_settings
from cim_domain.store.jetstream import JetStreamEvents
from cim_domain.store.port import LogIdentity
from cim_domain.views.port import ViewDatabase
from cim_domain.views.sql.database import SqlViews
from cim_domain.views.sql.kept import KeptViews

app = typer.Typer(
    name="projections",
    help="Show how far projections have read, build them anew, and remove what is left of them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

CHECKS = "projection."


@app.command("list")
def list_projections(
    domain: DomainName,
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show each projection's state, position and lag, as the running service tells.

    [bold]Example[/bold]

      cim-domain projections list nix

    The lag is how many events of the log a projection has not read yet. Queries are answered from
    the projection's own generation of views or, while that is being built for a new version of the
    projection, from the one before, if their layouts are the same.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        async with session.client(read_domain_name(domain)) as client:
            checks: dict[str, dict[str, Any]] = (await client.health()).get("checks", {})
        found = [
            {"name": name.removeprefix(CHECKS), **check}
            for name, check in checks.items()
            if name.startswith(CHECKS)
        ]
        if session.json:
            session.output.document(found)
            return
        header = ("projection", "version", "state", "position", "lag", "generation", "answers from",
                  "error")  # fmt: skip
        rows = [
            (
                one["name"],
                str(one.get("version", "")),
                status(one.get("state", one.get("status"))),
                *(str(one.get(name, "")) for name in ("position", "lag", "generation")),
                str(one.get("answers_from", "itself")),
                str(one.get("error", "")),
            )
            for one in found
        ]
        session.output.show(table(header, rows))

    session.run(work)


@app.command()
def rebuild(
    domain: DomainName,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The projection's name, as `list` shows it.")
    ],
    *,
    without_unknown_events: Annotated[
        bool,
        typer.Option(
            "--without-unknown-events",
            help="Also where the views there are were made of events that this code does not know.",
        ),
    ] = False,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build a projection's views anew from the log, beside those that are in use.

    [bold]Example[/bold]

      cim-domain projections rebuild nix flakes

    A running service answers from the views there are until the new ones have caught up, and from
    the new ones within about a second of the switch. This must see the same views as the service:
    the same data directory, or the same PostgreSQL database. Ended before that, it changes nothing.
    Where the log has events that former code has made views of, and that this code does not know,
    the new views would lack them: that is refused unless you say --without-unknown-events.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        nats, settings = session.settings(), load_service_settings()
        found = read_domain(domain)
        _require_views(settings, nats, found.name)
        model = _projection(found, name)
        started = perf_counter()
        async with session.link(nats) as link, _views(found, link, nats, settings) as database:
            runner = _runner(found, model, link, nats, settings, database)
            if not without_unknown_events:
                await _require_known(found, model, link, nats, database)
            built = await _build(session, runner, database, model)
        seconds = round(perf_counter() - started, 3)
        if session.json:
            session.output.document(
                {
                    "projection": name,
                    "generation": built.generation,
                    "position": built.position,
                    "seconds": seconds,
                }
            )
        else:
            session.output.note(
                f"{name}: built as generation {built.generation} up to event {built.position} in"
                f" {seconds:g} s; queries read it within a second"
            )

    session.run(work)


@app.command()
def remove(
    domain: DomainName,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The projection that was; with --log: all, without."),
    ] = None,
    *,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="LOG",
            help="The id of another log whose views are removed, as `doctor` says it.",
        ),
    ] = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove the views of a projection that the code does not have any more, or of another log.

    [bold]Examples[/bold]

      cim-domain projections remove nix flakes

      cim-domain projections remove nix --log 0b0f3c9e-6f5e-4b0e-8a53-3f1e0c1f0b0d

    Views can be built again from the log, as long as there is code for them. Those of a projection
    that the code here has, or a running service, are not removed. Of another log nobody can tell
    from here whether a service still uses it: look before.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        if name is None and log is None:
            usage("say which projection, or with --log of which other log")
        nats, settings = session.settings(), load_service_settings()
        found = read_domain(domain)
        _require_views(settings, nats, found.name)
        async with session.link(nats) as link:
            subjects = Subjects(found.name, nats.subject_prefix)
            identity = await JetStreamEvents(link, subjects).identity()
            of = log or identity.log_id
            if of == identity.log_id:
                client = DomainClient(link, subjects, retry=0)
                _require_unused(found, name, await running_parts(client))
            removed = await _removed(settings, nats, found, identity, name, of)
        if session.json:
            session.output.document(
                [
                    {"projection": one.projection, "log": one.log, "tables": list(one.tables)}
                    for one in removed
                ]
            )
        else:
            for one in removed:
                session.output.note(f"{one.projection}: removed, {len(one.tables)} tables")

    session.run(work)


def _require_unused(domain: Domain, name: str | None, running: frozenset[str]) -> None:
    """Raise `Conflict` where views of the log at hand are in use."""
    if name is None:
        raise Conflict(
            "this is the log at hand: say which projection's views are to be removed", code="in_use"
        )
    if name in domain.projections:
        raise Conflict(
            f"the code of {domain.name!r} has the projection {name!r}: its views are in use",
            code="in_use",
        )
    if f"{CHECKS}{name}" in running:
        raise Conflict(
            f"a running service has the projection {name!r}: upgrade or stop it first",
            code="in_use",
        )


async def _removed(
    settings: ServiceSettings,
    nats: NatsSettings,
    domain: Domain,
    identity: LogIdentity,
    name: str | None,
    log: str,
) -> list[KeptViews]:
    database = open_views(settings, nats, domain, identity)
    if not isinstance(database, SqlViews):
        raise ConfigurationError("views in memory are the service's own: there is none to remove")
    try:
        kept = await database.kept()
        found = [one for one in kept if one.log == log and name in {None, one.projection}]
        if not found:
            there = ", ".join(sorted(one.projection for one in kept if one.log == log)) or "none"
            raise NotFound(
                f"there are no such views; of the log {log} there are: {there}",
                code="unknown_projection",
            )
        for one in found:
            await database.remove(one)
    finally:
        await database.close()
    return found


async def _require_known(
    domain: Domain,
    model: ProjectionModel,
    link: Link,
    nats: NatsSettings,
    database: ViewDatabase,
) -> None:
    """Raise `Conflict` where views built anew would lack what those before were made of."""
    lost = {*await database.handled(model)} - domain.stored_events.keys()
    if not lost:
        return
    types = await JetStreamEvents(link, Subjects(domain.name, nats.subject_prefix)).types()
    counts = {name: types[name] for name in sorted(lost) if types.get(name)}
    if counts:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise Conflict(
            f"views of {model.name} were made of events that this code does not know, and would"
            f" lack them: the log holds {listed}. Declare them (formerly=... where they were"
            " renamed), or run newer code; or build without them: --without-unknown-events",
            code="unknown_events",
            details={"events": counts},
        )


async def _build(
    session: Session, runner: ProjectionRunner, database: ViewDatabase, model: ProjectionModel
) -> ProjectionStatus:
    with _progress(session, f"building {model.name}") as show:
        async for status_now in runner.build(await database.rebuild(model)):
            show(status_now)
    return runner.status


@contextmanager
def _progress(session: Session, title: str) -> Iterator[Callable[[ProjectionStatus], None]]:
    errors = session.output.errors
    parts = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda now: bar.update(task, completed=now.position, total=now.head)


def _runner(
    domain: Domain,
    model: ProjectionModel,
    link: Link,
    nats: NatsSettings,
    settings: ServiceSettings,
    database: ViewDatabase,
) -> ProjectionRunner:
    subjects = Subjects(domain.name, nats.subject_prefix)
    letters = StreamDeadLetters(link, subjects.dead_letter_stream, subjects.dead_letter_root)
    log = JetStreamEvents(link, subjects)
    return ProjectionRunner(domain, model, log, database, letters, subjects, settings.on_poison)


@asynccontextmanager
async def _views(
    domain: Domain, link: Link, nats: NatsSettings, settings: ServiceSettings
) -> AsyncIterator[ViewDatabase]:
    log = JetStreamEvents(link, Subjects(domain.name, nats.subject_prefix))
    database = open_views(settings, nats, domain, await log.identity())
    try:
        yield database
    finally:
        await database.close()


def _require_views(settings: ServiceSettings, nats: NatsSettings, domain: str) -> None:
    """Raise `ConfigurationError` where a service's views cannot be reached from here."""
    views = settings.views.get_secret_value()
    if views == "sqlite" and not (path := sqlite_views_path(nats, domain)).exists():
        raise ConfigurationError(
            f"there are no views at {path}: say with --data-directory where the service keeps its"
            " data, on this machine"
        )
    if views == "memory":
        raise ConfigurationError(
            "CIM_DOMAIN_VIEWS (service.views): views in memory are the service's own; restart it,"
            " and it builds them anew"
        )


def _projection(domain: Domain, name: str) -> ProjectionModel:
    model = domain.projections.get(name)
    if model is None:
        raise NotFound(
            f"the domain {domain.name!r} has no projection {name!r}; it has"
            f" {', '.join(sorted(domain.projections))}",
            code="unknown_projection",
        )
    return model
