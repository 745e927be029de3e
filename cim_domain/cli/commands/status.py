"""`status`: how a stored command stands, and what came of it."""

from typing import Annotated

import typer

from cim_domain.cli.options import (
    LARGEST,
    Config,
    DataDirectory,
    Debug,
    DomainName,
    Json,
    Organization,
    StoredCommand,
    Timeout,
    Url,
)
from cim_domain.cli.reading.domain import read_domain_name
from cim_domain.cli.rendering.command_status import show_status
from cim_domain.cli.session import Session


def status_of(
    domain: DomainName,
    command_id: StoredCommand,
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
        async with session.client(read_domain_name(domain)) as client:
            standing = await client.status(
                str(command_id), sequence=sequence, organization_id=organization_id
            )
        show_status(session, standing)

    session.run(work)
