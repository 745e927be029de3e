"""`serve`: run a domain's service until a signal ends it."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer

from cim_domain.cli.log_setup import Level, configure_logging
from cim_domain.cli.options import CONNECTION, Config, DataDirectory, Debug, DomainName, Url
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.session import Session
from cim_domain.errors import ConfigurationError
from cim_domain.model.domain import Domain
from cim_domain.nats.server.embedded import ServerOptions
from cim_domain.service.runner import run, run_service
from cim_domain.service.settings import load_service_settings

logger = logging.getLogger("cim_domain.service.service")

METRICS = "Metrics"


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
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            rich_help_panel=METRICS,
            help="Give out metrics for Prometheus at http://127.0.0.1:PORT/metrics, and /livez and"
            " /readyz; 0: any port.",
        ),
    ] = None,
    metrics_host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=METRICS,
            help="Where to listen for that. They are given to whoever asks.",
        ),
    ] = "127.0.0.1",
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

      cim-domain serve acme.inventory.domain:inventory

    A name stands for the packages aggregates/NAME and projections/NAME. MODULE:ATTRIBUTE is a
    Domain anywhere in your code, or a function that makes one. The working directory is among the
    places where modules are found.

    Ctrl-C or SIGTERM ends it: nothing new is taken, what is in flight is finished and answered. A
    second signal changes nothing.

    Exit codes: 0 after a signal; 2 it cannot start as configured; 3 no server, or it is gone for
    good.
    """
    session = Session(url, data_directory, config, debug=debug)

    def work() -> None:
        configure_logging(log_level)
        nats = session.settings()
        server = ServerOptions(data_directory=nats.data_directory, port=port)
        found, settings = read_domain(domain), load_service_settings()
        with _metrics(found, metrics_port, metrics_host) as more:
            code = run(run_service(found, nats, settings, server=server, **more))
        if code:
            raise typer.Exit(code)

    session.guarded(work)


@contextmanager
def _metrics(domain: Domain, port: int | None, host: str) -> Iterator[dict[str, Any]]:
    """What counts and what is probed, while it is given out; nothing where nobody wants that."""
    if port is None:
        yield {}
        return
    try:
        # Here, because it needs an extra that is not always installed.
        from cim_domain.integrations.probes import Probes  # noqa: PLC0415
        from cim_domain.integrations.prometheus import PrometheusObserver  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "--metrics-port needs prometheus-client: pip install 'cim-domain[prometheus]'"
        ) from error
    observer, probes = PrometheusObserver(domain), Probes()
    with ExitStack() as stack:
        try:
            bound = stack.enter_context(observer.served(port, host, probes))
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be given out at {host}:{port}: {error.strerror or error}"
            ) from error
        logger.info("metrics are at http://%s:%d/metrics", host, bound)
        yield {"observer": observer, "watch": probes.of}
