"""`schedule`: a command that is stored, and done at a time or after a while."""

from typing import Annotated

import typer

from cim_domain.cli.exit_codes import usage
from cim_domain.cli.options import (
    Actor,
    CommandId,
    Config,
    DataDirectory,
    Debug,
    Domain,
    ExpectedVersion,
    Json,
    Meta,
    Organization,
    Payload,
    QueueSubject,
    Timeout,
    Url,
)
from cim_domain.cli.reading.commands import check_command
from cim_domain.cli.reading.moments import read_after, read_at
from cim_domain.cli.reading.subject import id_text, read_meta, read_payload, read_subject
from cim_domain.cli.rendering.command_status import show_found
from cim_domain.cli.session import Session
from cim_domain.wire.codec import write_time


def schedule(
    subject: QueueSubject,
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When, with the time zone: 2030-01-01T08:00:00Z."),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="After how long: 90s, 15m, 1h30m, 3d.")
    ] = None,
    command_id: CommandId = None,
    organization_id: Organization = None,
    actor_id: Actor = None,
    meta: Meta = None,
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

      cim-domain schedule nix.cmd.flake.update '{"path": "/srv/web"}' --after 2h

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
        check_command(session, domain or subjects.domain, message_type)
        data = read_payload(payload)
        said = read_meta(meta)
        async with session.client(subjects) as client:
            scheduled = await client.schedule(
                message_type,
                data,
                at=time,
                after=length,
                command_id=id_text(command_id),
                organization_id=organization_id,
                actor_id=actor_id,
                meta=said,
                expected_version=expected_version,
            )
        found = {"command_id": scheduled.command_id, "at": write_time(scheduled.at)}
        show_found(session, {"status": "scheduled", **found})

    session.run(work)
