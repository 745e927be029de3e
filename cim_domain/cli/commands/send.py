"""`send`: one command to a service, and what came of it."""

from typing import Annotated
from uuid import UUID

import typer

from cim_domain.cli.completion import subjects
from cim_domain.cli.exit_codes import Refused
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
    Timeout,
    Url,
)
from cim_domain.cli.reading.subject import id_text, read_meta, read_payload, read_subject
from cim_domain.cli.rendering.tables import outcome_panel
from cim_domain.cli.session import Session


def send(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="nix.cmd.flake.create, or flake.create with --domain.",
            autocompletion=subjects("cmd"),
        ),
    ],
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    command_id: CommandId = None,
    correlation_id: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="What the command belongs to.")
    ] = None,
    causation_id: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="The message that caused the command.")
    ] = None,
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
    """Send a command and show what came of it.

    [bold]Examples[/bold]

      cim-domain send nix.cmd.flake.create '{"path": "/srv/web"}'

      cim-domain send flake.update @update.json --domain nix --expected-version 1

      echo '{"path": "/srv/web"}' | cim-domain send nix.cmd.flake.update - --json

    Exit codes: 0 accepted; 1 refused, and the reason is shown; 2 wrong usage; 3 nobody answered.
    After 3 it may be unknown whether the command had an effect: send it again with the
    [bold]--command-id[/bold] that is shown.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        where, message_type = read_subject(
            subject, "cmd", domain, session.settings().subject_prefix
        )
        data = read_payload(payload)
        said = read_meta(meta)
        async with session.client(where) as client:
            outcome = await client.send(
                message_type,
                data,
                command_id=id_text(command_id),
                correlation_id=id_text(correlation_id),
                causation_id=id_text(causation_id),
                organization_id=organization_id,
                actor_id=actor_id,
                meta=said,
                expected_version=expected_version,
            )
        if session.json:
            session.output.document(outcome.as_dict())
        else:
            session.output.show(outcome_panel(outcome))
        if outcome.error is not None:
            raise Refused

    session.run(work)
