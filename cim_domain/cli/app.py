"""The commands, put together."""

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from cim_domain.cli.catalogue import Catalogue

app = typer.Typer(
    name="cim-domain",
    cls=Catalogue,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        typer.echo(f"cim-domain {version_of('cim-domain')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Run and use the services of event-sourced domains on NATS JetStream.

    [bold]To begin with[/bold]

      cim-domain serve nix

      cim-domain send nix.cmd.flake.create '{"path": "/srv/web"}'

      cim-domain query nix.query.flake.list

      cim-domain events nix

    [bold]A domain of your own[/bold]

      cim-domain new shop

      cim-domain serve shop

      cim-domain serve acme.inventory.domain:inventory

    A domain is said by its name, for the packages aggregates/NAME and projections/NAME, or by
    MODULE:ATTRIBUTE, for a Domain anywhere in your code or a function that makes one. Modules are
    found in the working directory, too.

    Exit codes of all commands: 0 done; 1 refused, or not well; 2 wrong usage or configuration; 3 no
    server or no service answered.
    """
