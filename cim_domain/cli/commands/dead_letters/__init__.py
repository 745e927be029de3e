"""`dlq`: looking at dead letters, having them handled after all, throwing them away."""

import typer

from cim_domain.cli.commands.dead_letters.discard import discard
from cim_domain.cli.commands.dead_letters.listing import list_letters, show
from cim_domain.cli.commands.dead_letters.replay import replay

app = typer.Typer(
    name="dlq",
    help="Look at dead letters, replay them, throw them away.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.command("list")(list_letters)
app.command()(show)
app.command()(replay)
app.command()(discard)
