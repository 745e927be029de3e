"""Which dead letters a command is about."""

from typing import Annotated

import typer

from cim_domain.cli.exit_codes import usage
from cim_domain.cli.options import (
    LARGEST,
)
from cim_domain.nats.jetstream.dead_letter_box import CONSUMER_NAME

Letter = Annotated[
    int,
    typer.Argument(
        metavar="LETTER", min=1, max=LARGEST, help="The letter's number, as `list` shows it."
    ),
]
Letters = Annotated[
    list[int] | None,
    typer.Argument(
        metavar="[LETTER]...", min=1, max=LARGEST, help="Letters by number, as `list` shows them."
    ),
]
Consumer = Annotated[
    str | None,
    typer.Option(
        "--consumer", metavar="NAME", help="The letters of one consumer, such as process.builder."
    ),
]
All = Annotated[bool, typer.Option("--all", help="All letters there are.")]


def check_choice(letters: list[int] | None, consumer: str | None, *, every: bool) -> None:
    """End the command unless exactly one way of choosing is taken."""
    if sum((bool(letters), consumer is not None, every)) != 1:
        usage("say which: the numbers of letters, --consumer NAME, or --all")
    check_consumer(consumer)


def check_consumer(consumer: str | None) -> None:
    """End the command over what is no name of a consumer."""
    if consumer is not None and not CONSUMER_NAME.fullmatch(consumer):
        usage(f"{consumer!r} is no name of a consumer: expected one such as process.builder")
