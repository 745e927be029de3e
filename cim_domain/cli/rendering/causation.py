"""What led to what, as people see it."""

from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text
from rich.tree import Tree

from cim_domain.cli.escaping import escaped
from cim_domain.cli.rendering.tables import event_line
from cim_domain.errors import RequestError
from cim_domain.inspection.causation import NONE_REJECTED, CausingCommand, causation
from cim_domain.model.records import EventRecord


def causation_tree(
    correlation_id: str,
    records: Sequence[EventRecord],
    processes: Iterable[str] = (),
    rejected: Mapping[str, RequestError] = NONE_REJECTED,
) -> Tree:
    """The events of a correlation below the commands that they came of, as rich draws it.

    `processes` are the names of those that may have reacted to them, `rejected` the commands of
    theirs that had no effect.
    """
    tree = Tree(Text(f"correlation {escaped(correlation_id)}", style="dim"))
    # Not by recursion: a correlation may go on for as long as processes react.
    waiting = [(tree, command) for command in reversed(causation(records, processes, rejected))]
    while waiting:
        branch, command = waiting.pop()
        below = branch.add(_line(command))
        for event in command.events:
            leaf = below.add(event_line(event.record, width=0))
            waiting += [(leaf, caused) for caused in reversed(event.commands)]
    return tree


def _line(command: CausingCommand) -> Text:
    sender = f" sent by {command.process}" if command.process else ""
    actor = f" by {escaped(command.actor_id)}" if command.actor_id else ""
    line = Text(f"command {escaped(command.command_id)}{sender}{actor}", style="bold")
    if command.error is not None:
        code, message = command.error.code, command.error.message
        line.append(escaped(f" rejected: {code}: {message}"), style="red")
    return line
