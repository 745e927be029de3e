"""`cancel`: a scheduled command that shall never be done."""

from cim_domain.cli.exit_codes import Refused
from cim_domain.cli.options import (
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
from cim_domain.cli.rendering.command_status import show_found
from cim_domain.cli.session import Session


def cancel(
    domain: DomainName,
    command_id: StoredCommand,
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
        async with session.client(read_domain_name(domain)) as client:
            done = await client.cancel(str(command_id), organization_id=organization_id)
        found = "cancelled" if done else "not_scheduled"
        show_found(session, {"status": found, "command_id": str(command_id)})
        if not done:
            raise Refused

    session.run(work)
