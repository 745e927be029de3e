"""What led to what, as people see it."""

from collections.abc import Iterable, Sequence

from rich.text import Text
from rich.tree import Tree

from cim_domain.cli.escaping import escaped
from cim_domain.cli.rendering.tables import event_line
from cim_domain.inspection.causation import CausingCommand, causation
from cim_domain.model.records import EventRecord


def causation_tree(
    correlation_id: str, records: Sequence[EventRecord], processes: Iterable[str] = ()
) -> Tree:
    """The events of a correlation below the commands that they came of, as rich draws it.

    `processes` are the names of those that may have reacted to them.
    """
    tree = Tree(Text(f"correlation {escaped(correlation_id)}", style="dim"))
    # Not by recursion: a correlation may go on for as long as processes react.
    waiting = [(tree, command) for command in reversed(causation(records, processes))]
    while waiting:
        branch, command = waiting.pop()
        below = branch.add(_line(command))
        for event in command.events:
            leaf = below.add(event_line(event.record, width=0))
            waiting += [(leaf, caused) for caused in reversed(event.commands)]
    return tree


def _line(command: CausingCommand) -> Text:
    sender = f" sent by {command.process}" if command.process else ""
    return Text(f"command {escaped(command.command_id)}{sender}", style="bold")
