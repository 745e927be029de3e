"""What led to what: the events of one correlation as a tree.

The log holds events, each with the id of the command that it came of. A command that a process
sent is found below the event that the process reacted to, because its id is derived from it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.text import Text
from rich.tree import Tree

from cim_domain.cli.rendering import event_line
from cim_domain.identity import derived_id
from cim_domain.printable import printable
from cim_domain.store.port import EventRecord

REACTIONS = 32
"""So many commands that one process may send on one event are looked for."""


def causation_tree(
    correlation_id: str, records: Sequence[EventRecord], processes: Iterable[str] = ()
) -> Tree:
    """The events of a correlation below the commands that they came of, as rich draws it.

    `processes` are the names of those that may have reacted to them.
    """
    by_command: dict[str, list[EventRecord]] = defaultdict(list)
    for record in records:
        by_command[record.metadata.causation_id].append(record)
    reactions = dict(_reactions(records, by_command, tuple(processes)))
    causes = {command: event for command, (event, _) in reactions.items()}

    def add_to(branch: Tree, command: str) -> None:
        process = f" sent by {reactions[command][1]}" if command in reactions else ""
        below = branch.add(Text(f"command {printable(command)}{process}", style="bold"))
        for record in by_command[command]:
            leaf = below.add(event_line(record, width=0))
            for caused, event in causes.items():
                if event == record.metadata.message_id:
                    add_to(leaf, caused)

    tree = Tree(Text(f"correlation {printable(correlation_id)}", style="dim"))
    for command in by_command:
        if command not in causes:
            add_to(tree, command)
    return tree


def _reactions(
    records: Sequence[EventRecord], commands: Iterable[str], processes: Sequence[str]
) -> Iterable[tuple[str, tuple[str, str]]]:
    """Commands that processes sent: ``(command, (event, process))``."""
    known = set(commands)
    for record in records:
        for process in processes:
            for number in range(REACTIONS):
                command = derived_id(record.metadata.message_id, f"{process}.{number}")
                if command in known:
                    yield command, (record.metadata.message_id, process)
