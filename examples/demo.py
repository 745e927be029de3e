"""The nix domain at work, in a few seconds: `make demo`.

A server, the nix service and an external build worker, all in a temporary directory. Commands go
to each aggregate, events come back live, queries read their own writes, and the service tells how
it fares. Ends with exit code 0, or with 1 where anything is not as expected.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nats
from rich.text import Text

from cim_domain import CimError, Domain
from cim_domain.cli.output import Output, columns
from cim_domain.cli.rendering.tables import health_report
from cim_domain.client import DomainClient, NatsSettings, load_settings
from cim_domain.nats.server import EmbeddedServer, ServerOptions
from cim_domain.service import Service, load_service_settings
from examples.build_worker import build_worker
from examples.telling import Teller, Unexpected, event_row, expect
from examples.witness import Witness

PATIENCE = 60.0
"""Seconds for the whole; it takes two or three."""

FLAKE = {"path": "/srv/web"}
PACKAGE = {"flake_ref": "path:/srv/web", "attribute": "packages.x86_64-linux.default"}
CONFIGURATION = {
    "system": "x86_64-linux",
    "path": "/srv/web",
    "hostname": "web-1",
    "modules": ["web-server"],
    "overlays": ["newer-nginx"],
}


async def send_commands(demo: Teller) -> None:
    """Commands to each of the five aggregates, and the events that they lead to."""
    demo.heading(
        "Commands, and events as they happen",
        "The reply says what came of a command. The numbered lines are nix.event.>, live. Ids are"
        " cut to eight characters.\n",
    )
    names = ("#", "subject", "version", "event id", "correlation", "causation")
    demo.output.show(event_row(*names))
    await demo.send("flake.create", {**FLAKE, "description": "the web site", "template": "python"})
    nixpkgs = {"name": "nixpkgs", "url": "github:NixOS/nixpkgs/nixos-unstable"}
    await demo.send("flake.add_input", {**FLAKE, **nixpkgs})
    await demo.send("flake.create", FLAKE, "rejected")
    await demo.send("flake.create", {"path": "srv/web", "colour": "blue"}, "invalid")
    enabled = {"config": {"services.nginx.enable": True}}
    await demo.send("module.create", {"name": "web-server", "module": enabled})
    overrides = {"overrides": {"nginx": {"version": "1.27"}}}
    await demo.send("overlay.create", {"name": "newer-nginx", "overlay": overrides})
    created = await demo.send("config.create", {"name": "web-1", "configuration": CONFIGURATION})
    switch = {"name": "web-1", "activation_type": "switch"}
    await demo.send("config.activate", switch, cause=created)
    # The worker answers with package.complete_build and package.cache.
    cached = await demo.send("package.build", PACKAGE, leads_to=3)
    expect(cached is not None and cached.type == "package.cached", "the package is not cached")


def show_causation(demo: Teller) -> None:
    """All that was heard, below what caused it."""
    demo.heading(
        "What caused what",
        "Each message names its cause in X-Causation-ID, and the root of it all in"
        " X-Correlation-ID.",
    )
    trees = list(demo.witness.trees(demo.statuses))
    for tree in trees:
        demo.output.show(tree)
    expect(len(trees) == 8, f"{len(trees)} root commands, not 8")


async def ask_queries(demo: Teller) -> None:
    """Queries that read their own writes."""
    demo.heading(
        "Queries",
        "Answered from views, which follow the events. Each query here waits for the last event"
        f" ({demo.sequence}), by the header X-Min-Sequence: read your writes.",
    )
    flake = await demo.ask("flake.get", FLAKE)
    expect(flake["inputs"][0]["name"] == "nixpkgs", "the flake has no input")
    package = await demo.ask("package.get_status", PACKAGE)
    expect(package["status"] == "cached", "the package is not cached")
    current = await demo.ask("config.get_current", {"hostname": "web-1"})
    expect(current["generation"] == 1, "the configuration is not active")


async def ask_health(demo: Teller) -> None:
    """How the service fares, measured now."""
    demo.heading("Health", "Measured when asked for.")
    health = await demo.client.health()
    demo.output.show(health_report(health))
    expect(health["status"] == "healthy", f"the service is {health['status']}")


@asynccontextmanager
async def everything(output: Output, directory: Path) -> AsyncIterator[Teller]:
    """A server, the nix service, the worker, a client and a witness, until the block ends."""
    settings = load_settings(data_directory=directory / "data")
    domain = Domain.find("nix")
    async with (
        EmbeddedServer(ServerOptions(data_directory=settings.data_directory, port=0)) as server,
        Service(domain, settings, load_service_settings(), url=server.url) as service,
        build_worker(server.url),
        DomainClient.open("nix", settings, url=server.url) as client,
        witnessing(server.url) as witness,
    ):
        demo = Teller(output, client, witness)
        demo.heading("What is running", "All of it ends with this program, data included.")
        output.show(columns(_parts(server, service, domain, settings)))
        yield demo


@asynccontextmanager
async def witnessing(url: str) -> AsyncIterator[Witness]:
    """A witness with a connection of its own."""
    connection = await nats.connect(url, name="witness")
    try:
        witness = Witness()
        await witness.listen(connection, "nix")
        yield witness
    finally:
        await connection.close()


def _parts(
    server: EmbeddedServer, service: Service, domain: Domain, settings: NatsSettings
) -> list[tuple[str, str]]:
    return [
        ("server", f"nats-server {server.version} at {server.url}"),
        ("service", f"{service.subjects.service}, instance {service.instance[:8]}"),
        ("aggregates", ", ".join(domain.aggregates)),
        ("projections", ", ".join(domain.projections)),
        ("worker", "listens to nix.event.package.*, answers with commands"),
        ("data", str(settings.data_directory)),
    ]


async def run(output: Output) -> None:
    """Show everything. Raises `Unexpected`, `TimeoutError`, and what the parts raise."""
    with TemporaryDirectory(prefix="cim-domain-demo-") as directory:
        async with (
            asyncio.timeout(PATIENCE),
            everything(output, Path(directory)) as demo,
        ):
            await send_commands(demo)
            show_causation(demo)
            await ask_queries(demo)
            await ask_health(demo)
    output.show(Text("\nEverything was as expected.", style="bold green"))


def main() -> int:
    """Run the demonstration; the exit code."""
    # A reader's own configuration is of no concern here.
    for name in [name for name in os.environ if name.startswith(("NATS_", "CIM_DOMAIN_"))]:
        del os.environ[name]
    os.environ["CIM_DOMAIN_CONFIG"] = os.devnull
    output = Output()
    problems: list[BaseException] = []
    try:
        asyncio.run(run(output))
    except* (Unexpected, CimError, TimeoutError) as errors:
        problems += leaves(errors)
    for problem in problems:
        output.problem(f"the demonstration failed: {str(problem) or type(problem).__name__}")
    return 1 if problems else 0


def leaves(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in a group, and in the groups in it."""
    return [
        leaf
        for error in errors.exceptions
        for leaf in (leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    sys.exit(main())
