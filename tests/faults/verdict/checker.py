"""Whether what clients were told and what is in the log agree. Pure: it looks at nothing else.

Each check gives what it found to be wrong; none is the only good result.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from math import inf
from typing import Literal

from attrs import define, frozen

from cim_domain import Domain
from cim_domain.commands.decisions import CommandRequest, Rules, decide_run
from cim_domain.commands.repository import LoadedAggregate, evolve_on
from cim_domain.identity import caused_id
from cim_domain.model.aggregate import AggregateModel
from cim_domain.model.metadata import Metadata, utc_now
from cim_domain.model.records import EventRecord
from cim_domain.store.port import Limits
from tests.faults.verdict.history import History, Reply, Sent

Kind = Literal["lost", "doubled", "order", "phantom", "gap", "reply", "decision", "stale", "view"]


@frozen
class Violation:
    """A promise that was not kept."""

    kind: Kind
    text: str


def check(domain: Domain, history: History, log: Sequence[EventRecord]) -> list[Violation]:
    """All checks of history and log."""
    return [
        *check_log(log),
        *check_accepted(history, log),
        *check_refused(history, log),
        *check_answered(history),
        *check_decisions(domain, history, log),
    ]


def check_log(log: Sequence[EventRecord]) -> Iterator[Violation]:
    """The log in itself: no gap, nothing twice, what belongs together stands together."""
    metadata = [record.metadata for record in log]
    for number, one in enumerate(metadata, 1):
        if one.sequence != number:
            yield Violation("gap", f"event {number} of the log has the sequence {one.sequence}")
            break
    for event_id, times in Counter(one.message_id for one in metadata).items():
        if times > 1:
            yield Violation("doubled", f"the event {event_id} is stored {times} times")
    for name, one_of in _by_aggregate(log).items():
        versions = [one.metadata.aggregate_version for one in one_of]
        if versions != list(range(1, len(versions) + 1)):
            yield Violation("gap", f"{name} has the versions {versions}")
    runs = Counter(command_id for command_id, _ in groupby(one.causation_id for one in metadata))
    for command_id, times in runs.items():
        if times > 1:
            yield Violation("doubled", f"the command {command_id} has led to events {times} times")
    for command_id, events in _by_command(log).items():
        due = [caused_id(command_id, index) for index in range(len(events))]
        if [one.metadata.message_id for one in events] != due:
            yield Violation("order", f"the events of {command_id} are not the ones due, in order")


def check_accepted(history: History, log: Sequence[EventRecord]) -> Iterator[Violation]:
    """What was accepted is there, where every reply to it says."""
    stored = _by_command(log)
    for sent in history.sent.values():
        found = [one.metadata for one in stored.get(sent.command_id, ())]
        for reply in sent.accepted:
            if missing := {*reply.events} - {one.message_id for one in found}:
                yield Violation("lost", f"{sent.command_id}: {len(missing)} accepted events")
            elif reply.events and _told(reply) != _stored(found):
                yield Violation("order", f"{sent.command_id}: {_told(reply)} is {_stored(found)}")
        if sent.aggregate_id and any(one.aggregate_id != sent.aggregate_id for one in found):
            yield Violation("order", f"the events of {sent.command_id} are another aggregate's")
        # Of one without an effect nothing is kept: it may have one when it comes again.
        for reply in sent.accepted:
            if found and not reply.events and (reply.version or 0) >= found[0].aggregate_version:
                yield Violation("reply", f"{sent.command_id} was forgotten: {_told(reply)}")
        yield from _forgotten(sent)


def _forgotten(sent: Sent) -> Iterator[Violation]:
    """A command that is sent again once it was accepted is not refused."""
    known = min((reply.at for reply in sent.accepted if reply.events), default=inf)
    for attempt in sent.attempts:
        # How a stored command stands was decided at some time before it was asked for.
        for reply in attempt.replies if attempt.kind == "request" else ():
            if attempt.sent > known and reply.is_definite and reply.status != "accepted":
                yield Violation("reply", f"{sent.command_id} was forgotten: {reply}")


def check_refused(history: History, log: Sequence[EventRecord]) -> Iterator[Violation]:
    """What was not accepted has left nothing, and nobody else has written."""
    for command_id, events in _by_command(log).items():
        sent = history.sent.get(command_id)
        if sent is None:
            yield Violation("phantom", f"nobody has sent {command_id}: {len(events)} events")
        elif sent.is_settled and not sent.accepted:
            (last, *_) = sent.attempts[-1].replies
            yield Violation("phantom", f"{command_id} was {last.status}: {len(events)} events")


def check_answered(history: History) -> Iterator[Violation]:
    """Every request got one reply at most; what came of each command is known in the end."""
    for sent in history.sent.values():
        for attempt in sent.attempts:
            # What is to be stored is answered by the servers, not by a service; around a change
            # of leaders that was seen to happen twice.
            if len(attempt.replies) > 1 and attempt.kind != "submit":
                yield Violation("reply", f"{sent.command_id} was answered twice: {attempt.replies}")
        if not sent.is_settled:
            yield Violation("reply", f"it is not known what came of {sent.command_id}")


@define
class _Claim:
    """A command that was decided on a version between two."""

    sent: Sent
    reply: Reply
    lowest: int
    highest: float
    holds: bool = False


def check_decisions(
    domain: Domain, history: History, log: Sequence[EventRecord]
) -> Iterator[Violation]:
    """Each reply is what the domain decides on a state that there was since it was asked.

    For what was accepted that is the state that its events follow.
    """
    claims = _claims(history, log)
    for (aggregate, aggregate_id), records in _by_aggregate(log).items():
        model = domain.aggregates[aggregate]
        due = claims.pop(aggregate_id, [])
        known = LoadedAggregate(model.initial)
        for _, group in groupby(records, key=lambda one: one.metadata.causation_id):
            _settle(domain, model, known, due)
            events = tuple(group)
            first = events[0].metadata
            sent = history.sent.get(first.causation_id)
            if sent is not None and not _leads_to(domain, model, known, sent, events):
                yield Violation(
                    "decision",
                    f"{sent.message_type} {sent.command_id} does not lead to its events on version"
                    f" {known.position.version} of {aggregate} {aggregate_id}",
                )
            for record in events:
                event = domain.read_event(record.metadata, record.data)
                state = evolve_on(model, known.state, event, record.metadata)
                known.take_in(state, record.metadata, record.metadata.sequence)
        _settle(domain, model, known, due)
        yield from _unfounded(due)
    for due in claims.values():
        if due:
            model = domain.aggregates[due[0].sent.message_type.split(".")[0]]
            _settle(domain, model, LoadedAggregate(model.initial), due)
            yield from _unfounded(due)


def _unfounded(claims: Iterable[_Claim]) -> Iterator[Violation]:
    for claim in claims:
        if not claim.holds:
            yield Violation(
                "stale",
                f"{claim.sent.message_type} {claim.sent.command_id} was {claim.reply.status}"
                f" {claim.reply.code}, which holds on none of the versions {claim.lowest} to"
                f" {claim.highest} of {claim.sent.aggregate_id}",
            )


def _claims(history: History, log: Sequence[EventRecord]) -> dict[str, list[_Claim]]:
    """The commands of each aggregate that were sent once and answered, and what bounds them.

    A command is decided on a version not before any that was known when it was sent, and not after
    the one that any command was decided on which was sent when its reply was there.
    """
    by_aggregate: dict[str, list[Sent]] = defaultdict(list)
    for sent in history.sent.values():
        if sent.aggregate_id:
            by_aggregate[sent.aggregate_id].append(sent)
    found = {}
    for aggregate_id, commands in by_aggregate.items():
        known = sorted((one.at, one.version or 0) for each in commands for one in each.accepted)
        least = list(accumulate((version for _, version in known), max, initial=0))
        later = sorted(
            (-each.attempts[0].sent, (reply.version or 0) - len(reply.events))
            for each in commands
            for reply in each.accepted[:1]
            if reply.events
        )
        most = list(accumulate((version for _, version in later), min, initial=inf))
        found[aggregate_id] = [
            _Claim(sent, reply, least[_count(known, sent.attempts[0].sent)],
                   most[_count(later, -reply.at)])
            for sent in commands
            if len(sent.attempts) == 1 and sent.attempts[0].kind == "request"
            for reply in sent.attempts[0].replies[:1]
            if reply.status in {"accepted", "rejected", "conflict"}
        ]  # fmt: skip
    return found


def _count(times: Sequence[tuple[float, int]], until: float) -> int:
    """How many of the times, which are in order, are before another one."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle][0] < until:
            low = middle + 1
        else:
            high = middle
    return low


def _settle(
    domain: Domain, model: AggregateModel, known: LoadedAggregate, claims: Iterable[_Claim]
) -> None:
    """Mark the claims that hold on an aggregate as it is known here."""
    version = known.position.version
    for claim in claims:
        if claim.holds or not claim.lowest <= version <= claim.highest:
            continue
        if claim.reply.events:
            claim.holds = (claim.reply.version or 0) - len(claim.reply.events) == version
            continue
        events, status, code = _decided(domain, model, known, claim.sent)
        claim.holds = (not events, status, code) == (True, claim.reply.status, claim.reply.code)


def _leads_to(
    domain: Domain,
    model: AggregateModel,
    known: LoadedAggregate,
    sent: Sent,
    events: Sequence[EventRecord],
) -> bool:
    found, _, _ = _decided(domain, model, known, sent)
    return [(one.metadata.message_type, one.data) for one in found] == [
        (one.metadata.message_type, one.data) for one in events
    ]


def _decided(
    domain: Domain, model: AggregateModel, known: LoadedAggregate, sent: Sent
) -> tuple[Sequence[EventRecord], str, str]:
    """Events, status and code that the domain gives on this state."""
    command = domain.commands[sent.message_type].from_wire(sent.data)
    metadata = Metadata.root(sent.command_id, sent.message_type, utc_now(), "checker")
    request = CommandRequest(command, metadata, sent.expected_version)
    fresh = LoadedAggregate(known.state, known.position)
    (verdict,) = decide_run(Rules(model, utc_now, Limits(), "checker"), fresh, [request])
    if verdict.error is not None:
        return (), verdict.error.status, verdict.error.code
    return verdict.events, "accepted", ""


def _told(reply: Reply) -> tuple[object, ...]:
    return reply.version, reply.sequence, reply.events


def _stored(found: Sequence[Metadata]) -> tuple[object, ...]:
    last = found[-1]
    return last.aggregate_version, last.sequence, tuple(one.message_id for one in found)


def _by_aggregate(log: Sequence[EventRecord]) -> dict[tuple[str, str], list[EventRecord]]:
    found: dict[tuple[str, str], list[EventRecord]] = defaultdict(list)
    for record in log:
        aggregate = record.metadata.message_type.split(".")[0]
        found[aggregate, record.metadata.aggregate_id or ""].append(record)
    return found


def _by_command(log: Sequence[EventRecord]) -> dict[str, list[EventRecord]]:
    found: dict[str, list[EventRecord]] = defaultdict(list)
    for record in log:
        found[record.metadata.causation_id].append(record)
    return found
