"""`query`: one question to a service, and its answer."""

from typing import Annotated

import typer

from cim_domain.cli.completion import subjects
from cim_domain.cli.exit_codes import Refused
from cim_domain.cli.options import (
    LARGEST,
    Actor,
    Config,
    DataDirectory,
    Debug,
    Domain,
    Json,
    Meta,
    Organization,
    Payload,
    Timeout,
    Url,
)
from cim_domain.cli.reading.subject import read_meta, read_payload, read_subject
from cim_domain.cli.rendering.tables import error_rows, facts, result
from cim_domain.cli.session import Session
from cim_domain.client import NoAnswer
from cim_domain.errors import RequestError


def query(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help="nix.query.flake.get, or flake.get with --domain.",
            autocompletion=subjects("query"),
        ),
    ],
    payload: Payload = "{}",
    *,
    domain: Domain = None,
    min_sequence: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=LARGEST,
            help="Wait until the views have read the event with sequence N.",
        ),
    ] = None,
    organization_id: Organization = None,
    actor_id: Actor = None,
    meta: Meta = None,
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    timeout: Timeout = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask a query and show the result.

    [bold]Examples[/bold]

      cim-domain query nix.query.flake.get '{"path": "/srv/web"}'

      cim-domain query flake.list --domain nix

      cim-domain query nix.query.flake.list --min-sequence 12 --json

    With [bold]--min-sequence[/bold] and the sequence that `send` showed, the answer includes what
    the command has changed. With [bold]--json[/bold], the document is
    {"result": ..., "sequence": N}.
    """
    session = Session(url, data_directory, config, timeout, json=json, debug=debug)

    async def work() -> None:
        where, message_type = read_subject(
            subject, "query", domain, session.settings().subject_prefix
        )
        data = read_payload(payload)
        said = read_meta(meta)
        async with session.client(where) as client:
            try:
                answer = await client.ask(
                    message_type,
                    data,
                    min_sequence=min_sequence,
                    organization_id=organization_id,
                    actor_id=actor_id,
                    meta=said,
                )
            except NoAnswer:
                raise
            except RequestError as error:
                _refused(session, error)
                raise Refused from error
        if session.json:
            session.output.document({"result": answer.json(), "sequence": answer.sequence})
        else:
            session.output.show(result(answer.json()))

    session.run(work)


def _refused(session: Session, error: RequestError) -> None:
    if session.json:
        session.output.document({"error": error.as_dict()})
    session.output.errors.print(facts(error_rows(error)), soft_wrap=True)
