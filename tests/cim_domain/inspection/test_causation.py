"""What led to what."""

from cim_domain.identity import derived_id
from cim_domain.inspection.causation import CausingCommand, causation, causation_of
from cim_domain.model.records import EventRecord
from cim_domain.store.memory import MemoryEvents
from cim_domain.store.port import START, Commit
from cim_domain.testing.records import event, new_id


def caused(command: str, correlation: str) -> EventRecord:
    return event(new_id(), 1, causation_id=command, correlation_id=correlation)


def shape(commands: tuple[CausingCommand, ...]) -> list[object]:
    """Ids and processes, nested as the tree is."""
    return [
        (
            one.command_id,
            one.process,
            [(below.record.metadata.message_id, shape(below.commands)) for below in one.events],
        )
        for one in commands
    ]


def test_events_hang_below_their_command_in_the_order_of_the_log():
    root = new_id()
    records = [caused(root, root) for _ in range(3)]
    events = [(record.metadata.message_id, []) for record in records]
    assert shape(causation(records)) == [(root, None, events)]


def test_what_a_process_sent_hangs_below_the_event_it_reacted_to():
    root = new_id()
    first = caused(root, root)
    one, other = (derived_id(first.metadata.message_id, f"builder.{n}") for n in (0, 1))
    records = [first, caused(other, root), caused(one, root), caused(other, root)]
    first_id, second, third, fourth = (record.metadata.message_id for record in records)
    below = [
        (other, "builder", [(second, []), (fourth, [])]),
        (one, "builder", [(third, [])]),
    ]
    found = causation(records, ["nobody", "builder"])
    assert shape(found) == [(root, None, [(first_id, below)])]
    # Without the names nobody knows who sent them, and nothing is left out.
    assert [command.command_id for command in causation(records)] == [root, other, one]


def test_a_chain_may_be_longer_than_a_program_can_recurse():
    root = new_id()
    records = [caused(root, root)]
    for _ in range(3000):
        command = derived_id(records[-1].metadata.message_id, "p.0")
        records.append(caused(command, root))
    (found,) = causation(records, ["p"])
    depth = 1
    while found.events[0].commands:
        (found,) = found.events[0].commands
        depth += 1
    assert depth == 3001


async def test_a_log_is_searched_for_the_correlation():
    log, root, other = MemoryEvents(), new_id(), new_id()
    for correlation in (root, other, root):
        record = caused(correlation, correlation)
        await log.append([Commit("flake", record.metadata.aggregate_id, START, (record,))])
    (found,) = await causation_of(log, root)
    assert (found.command_id, len(found.events)) == (root, 2)
