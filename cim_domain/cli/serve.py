"""`serve`: run a domain's service until a signal ends it."""

from typing import Annotated

import typer

from cim_domain.cli.options import CONNECTION, Config, DataDirectory, Debug, DomainName, Url
from cim_domain.cli.session import Session
from cim_domain.domain import Domain
from cim_domain.logs import Level, configure_logging
from cim_domain.nats.server import ServerOptions
from cim_domain.running import run, run_service
from cim_domain.settings import load_service_settings


def serve(
    domain: DomainName,
    *,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            rich_help_panel=CONNECTION,
            help="The embedded server's port; 0 for any. Without it: 4222, or the next free one.",
        ),
    ] = None,
    log_level: Annotated[Level, typer.Option(help="The least that is logged.")] = "info",
    url: Url = None,
    data_directory: DataDirectory = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Run a domain's service; without a configured server, with one of its own on this machine.

    [bold]Examples[/bold]

      cim-domain serve nix

      cim-domain serve nix --url nats://nats.example.org:4222

      cim-domain serve shop --data-directory ./data

    The domain is the packages aggregates/DOMAIN and projections/DOMAIN, also of the working
    directory. Ctrl-C or SIGTERM ends it: nothing new is taken, what is in flight is finished and
    answered. A second signal changes nothing.

    Exit codes: 0 after a signal; 2 it cannot start as configured; 3 no server, or it is gone for
    good.
    """
    session = Session(url=url, data_directory=data_directory, config=config, debug=debug)

    def work() -> None:
        configure_logging(log_level)
        nats = session.settings()
        server = ServerOptions(data_directory=nats.data_directory, port=port)
        code = run(run_service(Domain.find(domain), nats, load_service_settings(), server=server))
        if code:
            raise typer.Exit(code)

    session.guarded(work)
