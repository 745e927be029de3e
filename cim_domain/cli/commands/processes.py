"""`processes`: what the log's consumers wait for, and removing those of processes that are gone."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cim_domain.cli.options import Config, DataDirectory, Debug, DomainName, Json, Timeout, Url
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.reading.running import running_parts
from cim_domain.cli.rendering.tables import table
from cim_domain.cli.session import Session
from cim_domain.client import DomainClient
from cim_domain.errors import Conflict, NotFound
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import CONSUMER_NOT_FOUND, ApiError, call
from cim_domain.nats.jetstream.consumers import consumers_of
from cim_domain.processes.runner import CONSUMER

app = typer.Typer(
    name="processes",
    help="Show how many events wait for each process, and remove what is left of former ones.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("list")
def list_processes(
    domain: DomainName,
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show each process that has a consumer of the log, and whether the code here has it.

    [bold]Example[/bold]

      cim-domain processes list nix
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        nats, code = session.settings(), read_domain(domain)
        subjects = Subjects(code.name, nats.subject_prefix)
        async with session.link(nats) as link:
            infos = await _processes(link, subjects)
        found: list[dict[str, Any]] = [
            {
                "name": name,
                "in_code": name in code.processes,
                "waiting": int(info["num_pending"]),
                "in_hand": int(info["num_ack_pending"]),
            }
            for name, info in sorted(infos.items())
        ]
        if session.json:
            session.output.document(found)
            return
        rows = [
            (
                one["name"],
                "yes" if one["in_code"] else "no",
                str(one["waiting"]),
                str(one["in_hand"]),
            )
            for one in found
        ]
        session.output.show(table(("process", "in the code", "waiting", "in hand"), rows))

    session.run(work)


@app.command()
def remove(
    domain: DomainName,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The process that was, as `list` shows it.")
    ],
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove the consumer of a process that the code does not have any more.

    [bold]Example[/bold]

      cim-domain processes remove nix builder

    What waits for it is not reacted to. A process that the code here has, or a running service, is
    not removed. One of the same name that comes later begins like any new one.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        nats, code = session.settings(), read_domain(domain)
        subjects = Subjects(code.name, nats.subject_prefix)
        if name in code.processes:
            raise Conflict(
                f"the code of {code.name!r} has the process {name!r}: it is in use", code="in_use"
            )
        async with session.link(nats) as link:
            client = DomainClient(link, subjects, retry=0)
            if f"process.{name}" in await running_parts(client):
                raise Conflict(
                    f"a running service has the process {name!r}: upgrade or stop it first",
                    code="in_use",
                )
            infos = await _processes(link, subjects)
            if name not in infos:
                raise _unknown(name, infos)
            try:
                await call(
                    link.requests, f"CONSUMER.DELETE.{subjects.event_stream}.{CONSUMER}{name}"
                )
            except ApiError as error:
                if error.error_code == CONSUMER_NOT_FOUND:
                    raise _unknown(name, infos) from error
                raise
        waited = int(infos[name]["num_pending"]) + int(infos[name]["num_ack_pending"])
        if session.json:
            session.output.document({"process": name, "waited": waited})
        else:
            session.output.note(f"{name}: removed; {waited} events waited for it")

    session.run(work)


async def _processes(link: Link, subjects: Subjects) -> dict[str, Mapping[str, Any]]:
    """The consumers of processes, by the process's name."""
    return {
        info["name"].removeprefix(CONSUMER): info
        for info in await consumers_of(link.requests, subjects.event_stream)
        if info["name"].startswith(CONSUMER)
    }


def _unknown(name: str, infos: Mapping[str, object]) -> NotFound:
    there = f"there are {', '.join(sorted(infos))}" if infos else "there is none"
    return NotFound(
        f"the log has no consumer of a process {name!r}; {there}", code="unknown_process"
    )
