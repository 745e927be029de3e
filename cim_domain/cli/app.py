"""The commands, put together."""

from typing import Annotated

import typer

from cim_domain.cli.commands import dead_letters, processes, projections
from cim_domain.cli.commands.cancel import cancel
from cim_domain.cli.commands.doctor import doctor
from cim_domain.cli.commands.events import events
from cim_domain.cli.commands.health import health
from cim_domain.cli.commands.history import history
from cim_domain.cli.commands.new import new
from cim_domain.cli.commands.query import query
from cim_domain.cli.commands.schedule import schedule
from cim_domain.cli.commands.send import send
from cim_domain.cli.commands.serve import serve
from cim_domain.cli.commands.state import state
from cim_domain.cli.commands.status import status_of
from cim_domain.cli.commands.submit import submit
from cim_domain.service.service import VERSION

app = typer.Typer(
    name="cim-domain",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        typer.echo(f"cim-domain {VERSION}")
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


app.command()(new)
app.command()(serve)
app.command()(send)
app.command()(query)
app.command()(submit)
app.command()(schedule)
app.command()(cancel)
app.command("status")(status_of)
app.command()(events)
app.command()(state)
app.command()(history)
app.command()(health)
app.add_typer(projections.app)
app.add_typer(processes.app)
app.add_typer(dead_letters.app)
app.command()(doctor)
