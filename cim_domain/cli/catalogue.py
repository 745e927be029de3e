"""Which commands there are, in the order of the help; each is loaded once somebody wants it."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "new": ("new", "new", "Write a first domain with its test, ready to serve."),
    "serve": (
        "serve",
        "serve",
        "Run a domain's service; without a configured server, with one of its own on this machine.",
    ),
    "send": ("send", "send", "Send a command and show what came of it."),
    "query": ("query", "query", "Ask a query and show the result."),
    "submit": ("submit", "submit", "Have a command stored, and done as soon as a service can."),
    "schedule": (
        "schedule",
        "schedule",
        "Have a command stored, and done at a time or after a while.",
    ),
    "cancel": ("cancel", "cancel", "Have a scheduled command never done."),
    "status": ("status", "status_of", "Show how a stored command stands, and what came of it."),
    "events": ("events", "events", "Show the events of a domain, oldest first."),
    "state": (
        "state",
        "state",
        "Show an aggregate as it is, or as it was: what its events say, with the code of today.",
    ),
    "history": (
        "history",
        "history",
        "Show each event of an aggregate, and what it changed of the aggregate's state.",
    ),
    "describe": (
        "describe",
        "describe",
        "Show what a domain is made of: commands, events, views, queries, processes, their fields.",
    ),
    "health": (
        "health",
        "health",
        "Show how services fare: connection, stream, projections, processes, dead letters.",
    ),
    "projections": (
        "projections",
        "app",
        "Show how far projections have read, build them anew, and remove what is left of them.",
    ),
    "processes": (
        "processes",
        "app",
        "Show how many events wait for each process, and remove what is left of former ones.",
    ),
    "dlq": ("dead_letters", "app", "Look at dead letters, replay them, throw them away."),
    "doctor": (
        "doctor",
        "doctor",
        "Look at server, streams, service, consumers and views, and say what to do.",
    ),
}
"""By name: module, what stands for the command there, and its first sentence."""


class Catalogue(TyperGroup):
    """The commands by their sentences alone, until one of them is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, _, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, whole."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, loaded(name) if name in COMMANDS else command, rest


def loaded(name: str) -> Any:
    """A command with its parameters, or a group of commands."""
    module, attribute, _ = COMMANDS[name]
    found = getattr(import_module(f"cim_domain.cli.commands.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(rich_markup_mode="rich", add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
