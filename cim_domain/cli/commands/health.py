"""`health`: how services fare, measured when it is asked."""

import asyncio
import re
from typing import Annotated, Any

import orjson
import typer
from nats.aio.msg import Msg

from cim_domain.cli.exit_codes import Refused
from cim_domain.cli.options import Config, DataDirectory, Debug, Json, Timeout, Url
from cim_domain.cli.reading.domain import read_domain_name
from cim_domain.cli.rendering.tables import health_report
from cim_domain.cli.session import RETRY, Session
from cim_domain.client import TIMEOUT, DomainClient, NoAnswer
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link

PREFIX = "cim-domain-"
_SERVICE = re.compile(rf"{PREFIX}[a-z][a-z0-9_]*")

DISCOVERY = 0.5
"""Seconds for which services may make themselves known."""


def health(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="[SERVICE]",
            help="nix, cim-domain-nix, or MODULE:ATTRIBUTE; without it, all that answer.",
        ),
    ] = None,
    *,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how services fare: connection, stream, projections, processes, dead letters.

    [bold]Examples[/bold]

      cim-domain health

      cim-domain health nix --json

    Exit codes: 0 healthy; 1 degraded or unhealthy; 3 no server, or no service answered. With
    [bold]--json[/bold], one service gives its report, several give a list.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        settings = session.settings()
        async with session.link(settings) as link:
            names = [service] if service else await discover(link)
            domains = [read_domain_name(name.removeprefix(PREFIX)) for name in names]
            reports = [
                await DomainClient(
                    link,
                    Subjects(domain, settings.subject_prefix),
                    timeout=session.timeout or TIMEOUT,
                    retry=RETRY,
                ).health()
                for domain in domains
            ]
        if session.json:
            session.output.document(reports[0] if service else reports)
        else:
            for report in reports:
                session.output.show(health_report(report))
        if any(report["status"] != "healthy" for report in reports):
            raise Refused

    session.run(work)


async def discover(link: Link, seconds: float = DISCOVERY) -> list[str]:
    """The names of this kit's services that answer within `seconds`. Raises `NoAnswer`."""
    names: set[str] = set()

    async def receive(message: Msg) -> None:
        names.add(_name(message.data))

    inbox = link.client.new_inbox()
    subscription = await link.client.subscribe(inbox, cb=receive)
    await link.client.publish("$SRV.PING", reply=inbox)
    await asyncio.sleep(seconds)
    await subscription.unsubscribe()
    found = sorted(name for name in names if _SERVICE.fullmatch(name))
    if not found:
        raise NoAnswer(
            "no service answers: start one with `cim-domain serve DOMAIN`", code="no_responders"
        )
    return found


def _name(data: bytes) -> str:
    try:
        said: Any = orjson.loads(data)
        return str(said["name"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
