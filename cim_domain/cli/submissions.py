"""`submit`, `schedule`, `cancel` and `status`: commands that are stored first."""

from typing import Annotated, Any
from uuid import UUID

import typer
from attrs import asdict
from rich.text import Text

from cim_domain.cli.moments import read_after, read_at
from cim_domain.cli.options import (
    LARGEST,
    CommandId,
    Config,
    DataDirectory,
    Debug,
    Domain,
    DomainName,
    ExpectedVersion,
    Json,
    Organization,
    Payload,
    Timeout,
    Url,
)
from cim_domain.cli.rendering import facts, outcome_panel, status
from cim_domain.cli.session import Refused, Session, usage
from cim_domain.cli.subject import id_text, read_payload, read_subject
from cim_domain.codec import write_time
from cim_domain.printable import printable
from cim_domain.standing import Standing

Subject = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT", help="nix.submit.flake.create, or flake.create with --domain."
    ),
]
Stored = Annotated[
    UUID, typer.Argument(metavar="COMMAND_ID", help="The id that submit or schedule showed.")
]


def submit(
    subject: Subject,
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is done, and show what came of it.")
    ] = False,
    command_id: CommandId = None,
    organization_id: Organization = None,
    expected_version: ExpectedVersion = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Have a command stored, and done as soon as a service can.

    [bold]Examples[/bold]

      cim-domain submit nix.submit.flake.create '{"path": "/srv/web"}'

      cim-domain submit flake.update @update.json --domain nix --wait --timeout 60

    Exit codes: 0 stored, or with [bold]--wait[/bold] accepted; 1 refused; 2 wrong usage; 3 nobody
    stored it, or it was not done in time.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        subjects, message_type = read_subject(
            subject, "submit", domain, session.settings().subject_prefix
        )
        data = read_payload(payload)
        async with session.client(subjects) as client:
            stored = await client.submit(
                message_type,
                data,
                command_id=id_text(command_id),
                organization_id=organization_id,
                expected_version=expected_version,
            )
            if wait:
                standing = await client.wait_for(
                    stored.command_id, organization_id=organization_id, timeout=timeout
                )
                _show_standing(session, standing)
            else:
                _show(session, {"status": "stored", **asdict(stored)})

    session.run(work)


def schedule(
    subject: Subject,
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When, with the time zone: 2030-01-01T08:00:00Z."),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="After how long: 90s, 15m, 2h, 3d.")
    ] = None,
    command_id: CommandId = None,
    organization_id: Organization = None,
    expected_version: ExpectedVersion = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Have a command stored, and done at a time or after a while.

    [bold]Examples[/bold]

      cim-domain schedule nix.submit.flake.update '{"path": "/srv/web"}' --after 2h

      cim-domain schedule flake.update @update.json -d nix --at 2030-01-01T08:00:00Z

    A time in the past is now. Exit codes: 0 it waits for its time; 1 one with its id waits already;
    2 wrong usage; 3 nobody stored it.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        if (at is None) == (after is None):
            usage("say when: either --at TIME or --after LENGTH")
        time = read_at(at) if at is not None else None
        length = read_after(after) if after is not None else None
        subjects, message_type = read_subject(
            subject, "submit", domain, session.settings().subject_prefix
        )
        data = read_payload(payload)
        async with session.client(subjects) as client:
            scheduled = await client.schedule(
                message_type,
                data,
                at=time,
                after=length,
                command_id=id_text(command_id),
                organization_id=organization_id,
                expected_version=expected_version,
            )
        found = {"command_id": scheduled.command_id, "at": write_time(scheduled.at)}
        _show(session, {"status": "scheduled", **found})

    session.run(work)


def cancel(
    domain: DomainName,
    command_id: Stored,
    *,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Have a scheduled command never done.

    [bold]Example[/bold]

      cim-domain cancel nix 6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00

    Exit codes: 0 cancelled; 1 too late, or never scheduled; 2 wrong usage; 3 nobody answered.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        async with session.client(domain) as client:
            done = await client.cancel(str(command_id), organization_id=organization_id)
        found = "cancelled" if done else "not_scheduled"
        _show(session, {"status": found, "command_id": str(command_id)})
        if not done:
            raise Refused

    session.run(work)


def status_of(
    domain: DomainName,
    command_id: Stored,
    *,
    sequence: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=LARGEST, help="The sequence that submit showed."),
    ] = None,
    organization_id: Organization = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how a stored command stands, and what came of it.

    [bold]Example[/bold]

      cim-domain status nix 6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00 --json

    Exit codes: 0 accepted, or not done yet; 1 refused, cancelled, given up, or unknown; 2 wrong
    usage; 3 nobody answered.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        async with session.client(domain) as client:
            standing = await client.status(
                str(command_id), sequence=sequence, organization_id=organization_id
            )
        _show_standing(session, standing)

    session.run(work)


def _show_standing(session: Session, standing: Standing) -> None:
    if session.json:
        session.output.document(standing.as_dict())
    else:
        if standing.outcome is not None and standing.final:
            session.output.show(outcome_panel(standing.outcome))
            more: dict[str, Any] = {}
        else:
            at = write_time(standing.at) if standing.at else None
            more = {"status": standing.state, "command": standing.command_id, "at": at}
            more["reason"] = standing.error.message if standing.error else None
        if standing.attempts > 1:
            more["attempts"] = standing.attempts
        if standing.dead_letter:
            more["dead letter"] = "yes"
        if more:
            session.output.show(_rows(more))
    if standing.final and standing.state != "accepted":
        raise Refused


def _show(session: Session, found: dict[str, Any]) -> None:
    if session.json:
        session.output.document(found)
    else:
        words = {"command_id": "command"}
        session.output.show(_rows({words.get(name, name): one for name, one in found.items()}))


def _rows(found: dict[str, Any]) -> Text:
    """A line for each thing that says something."""
    return facts(
        [
            (name, status(value) if name == "status" else Text(printable(str(value))))
            for name, value in found.items()
            if value
        ]
    )
