"""The commands, put together."""

from typing import Annotated

import typer

from cim_domain.cli import (
    dead_letters,
    doctor,
    events,
    health,
    messages,
    past,
    projections,
    serve,
    submissions,
)
from cim_domain.service import VERSION

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

    Exit codes of all commands: 0 done; 1 refused, or not well; 2 wrong usage or configuration; 3 no
    server or no service answered.
    """


app.command()(serve.serve)
app.command()(messages.send)
app.command()(messages.query)
app.command()(submissions.submit)
app.command()(submissions.schedule)
app.command()(submissions.cancel)
app.command("status")(submissions.status_of)
app.command()(events.events)
app.command()(past.state)
app.command()(past.history)
app.command()(health.health)
app.add_typer(projections.app)
app.add_typer(dead_letters.app)
app.command()(doctor.doctor)
