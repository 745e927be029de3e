"""`submit`: a command that is stored first, and done as soon as a service can."""

from typing import Annotated

import typer
from attrs import asdict

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
from cim_domain.cli.reading.subject import id_text, read_meta, read_payload, read_subject
from cim_domain.cli.rendering.command_status import show_found, show_status
from cim_domain.cli.session import Session


def submit(
    subject: QueueSubject,
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is done, and show what came of it.")
    ] = False,
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
    """Have a command stored, and done as soon as a service can.

    [bold]Examples[/bold]

      cim-domain submit nix.cmd.flake.create '{"path": "/srv/web"}'

      cim-domain submit flake.update @update.json --domain nix --wait --timeout 60

    Exit codes: 0 stored, or with [bold]--wait[/bold] accepted; 1 refused; 2 wrong usage; 3 nobody
    stored it, or it was not done in time.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        subjects, message_type = read_subject(
            subject, "submit", domain, session.settings().subject_prefix
        )
        check_command(session, domain or subjects.domain, message_type)
        data = read_payload(payload)
        said = read_meta(meta)
        async with session.client(subjects) as client:
            stored = await client.submit(
                message_type,
                data,
                command_id=id_text(command_id),
                organization_id=organization_id,
                actor_id=actor_id,
                meta=said,
                expected_version=expected_version,
            )
            if wait:
                standing = await client.wait_for(
                    stored.command_id,
                    organization_id=organization_id,
                    actor_id=actor_id,
                    meta=said,
                    timeout=timeout,
                )
                show_status(session, standing)
            else:
                show_found(session, {"status": "stored", **asdict(stored)})

    session.run(work)
