"""`projections`: how far each has read, and building one anew beside the one that is in use."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cim_domain.cli.options import Config, DataDirectory, Debug, DomainName, Json, Timeout, Url
from cim_domain.cli.reading.domain import read_domain, read_domain_name
from cim_domain.cli.rendering.tables import status, table
from cim_domain.cli.session import Session
from cim_domain.errors import ConfigurationError, NotFound
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
from cim_domain.views.port import ViewDatabase

app = typer.Typer(
    name="projections",
    help="Show how far projections have read, and build them anew.",
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
                f" {seconds:g} s; queries read it now"
            )

    session.run(work)


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
