"""Appending to the stream, with its unknown outcomes.

Every write names the sequence that the aggregate's last event must have, always by the one pattern
for all of the aggregate's events: on a replicated stream, patterns that overlap but differ as text
are not checked against each other.

A write whose answer does not come has an unknown outcome. It is sent again, with the same ids and
the same expectation; a server that has it already refuses or says "duplicate", and then the
aggregate's tail, read from the leader, tells what happened.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from attrs import field, frozen
from nats.errors import ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError

from cim_domain.errors import Failed, Unavailable
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.connection.requests import NoAnswer
from cim_domain.nats.jetstream.api import TOO_LARGE, ApiError, answer_of
from cim_domain.nats.jetstream.patience import Later, Patience
from cim_domain.store.checks import check_commits, tail_of
from cim_domain.store.jetstream.histories import Histories
from cim_domain.store.jetstream.known_log import KnownLog
from cim_domain.store.jetstream.publications import Publication, check_size, limits_of, publications
from cim_domain.store.port import Commit, Position, StoreConflict

# Error codes of the server that say: not as expected, or known already. See `Appends._outcome`.
_WRONG_LAST_SEQUENCE = {10071}
_WRITE_UNDER_WAY = {10164}
_KNOWN_ID = {10201}
# The same, or another write, is still under way; or the batch met too many others: again, later.
_LATER = {10158, 10176, 10210}
_ANOTHER_STREAM = {10060}

BATCHES = 4
"""So many batches are under way at a time. The server stores one after another, and holds 50: more
would wait there until they are taken for lost, and be sent again.
"""


@frozen
class Appends:
    """What adds commits to a domain's stream."""

    _link: Link
    _subjects: Subjects
    _histories: Histories
    _patience: Patience
    _known: KnownLog
    _batches: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(BATCHES), init=False)

    async def append(self, commits: Sequence[Commit]) -> tuple[Position, ...]:
        """See `EventStore.append`. One event is a plain publish, several are an atomic batch."""
        check_commits(commits, limits_of(self._link.client.max_payload))
        messages = [one for commit in commits for one in publications(self._subjects, commit)]
        size = sum(len(one.block) + len(one.data) for one in messages)
        timeout = self._patience.answer_to(size)
        return await self._patience.retried(
            self._subjects.event_stream, lambda: self._outcome(commits, messages, timeout)
        )

    async def _outcome(
        self,
        commits: Sequence[Commit],
        messages: Sequence[Publication],
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[Position, ...]:
        for message in messages:
            # At each try: another connection may have another limit.
            check_size(self._link.client, message)
        before = self._known.last.sequence
        try:
            if len(messages) == 1:
                await self._known.check()
                answer = await self._publish(messages[0], timeout)
            else:
                answer = await self._in_turn(messages, timeout)
        except ApiError as error:
            if error.error_code in _WRONG_LAST_SEQUENCE | _WRITE_UNDER_WAY | _KNOWN_ID:
                return await self._resolve(commits, error.error_code)
            if error.error_code in _LATER:
                raise Later(error.description, code="busy") from error
            if error.error_code in _ANOTHER_STREAM:
                raise self._another_stream() from error
            if error.error_code in TOO_LARGE:
                raise Failed(
                    f"{self._subjects.event_stream} takes no message of that size"
                    f" ({error.description})",
                    code="too_large",
                    details={"bytes": max(len(one.data) for one in messages)},
                ) from error
            raise
        except NoAnswer as error:
            if error.code == "no_responders":
                # Whoever answers there next may be another log.
                self._known.doubt()
            raise
        if "seq" not in answer:
            raise NoAnswer("something answered that is not a stream", code="no_acknowledgement")
        if answer.get("stream") != self._subjects.event_stream:
            raise self._another_stream()
        if answer.get("domain") != self._known.domain:
            # A leaf node's or a hub's stream of that name, which hears all that is published.
            raise Later("a stream in another JetStream domain answered", code="other_log")
        if answer.get("duplicate"):
            return await self._resolve(commits)
        last = commits[-1].events[-1].metadata.message_id
        await self._known.acknowledged(int(answer["seq"]), last, before)
        return _positions(commits, int(answer["seq"]))

    def _another_stream(self) -> Unavailable:
        return Unavailable(
            f"another stream than {self._subjects.event_stream} has its subjects: nobody reads"
            " events there",
            code="log_missing",
        )

    async def _publish(
        self,
        message: Publication,
        timeout: float,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        (reply,) = await self._link.requests.many(
            message.subject, message.data, block=message.block, timeout=timeout
        )
        return answer_of(message.subject, reply)

    async def _in_turn(
        self,
        messages: Sequence[Publication],
        timeout: float,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout):
                await self._batches.acquire()
        except TimeoutError:
            raise Later("other batches are under way", code="busy") from None
        try:
            await self._known.check()
            return await self._batch(messages, timeout)
        finally:
            self._batches.release()

    async def _batch(
        self,
        messages: Sequence[Publication],
        timeout: float,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """One atomic batch; its first message asks for an answer, or overload looks like a gap."""
        batch = uuid4().hex
        last = len(messages)
        sent = [
            message.in_batch(batch, number, commit=number == last)
            for number, message in enumerate(messages, 1)
        ]
        first = asyncio.create_task(self._publish(sent[0], timeout))
        # A turn of the loop, in which that task sends its message: the order must hold.
        await asyncio.sleep(0)
        try:
            for message in sent[1:-1]:
                self._link.client.send(message.subject, message.data, block=message.block)
            return await self._publish(sent[-1], timeout)
        except (OutboundBufferLimitError, ConnectionClosedError, ConnectionDrainingError) as error:
            raise NoAnswer("there is no connection to the server", code="disconnected") from error
        except ApiError:
            # Where the first was refused, the last is merely said to follow a gap.
            await first
            raise
        finally:
            first.cancel()
            await asyncio.wait([first])
            if not first.cancelled():
                first.exception()

    async def _resolve(
        self, commits: Sequence[Commit], error_code: int | None = None
    ) -> tuple[Position, ...]:
        """What became of a write that the server refused or knew: stored before, or a conflict."""
        histories = await asyncio.gather(
            *(self._histories.of(one.aggregate, one.aggregate_id, one.expected) for one in commits)
        )
        found = [
            tail_of(commit, tail) for commit, (_, tail) in zip(commits, histories, strict=True)
        ]
        if all(found):
            return tuple(position for position in found if position)
        refused = [
            commit.aggregate_id
            for commit, (version, _), position in zip(commits, histories, found, strict=True)
            if version != commit.expected.version and not position
        ]
        if not refused and error_code in _WRONG_LAST_SEQUENCE:
            refused = [one.aggregate_id for one in commits if await self._lies_elsewhere(one)]
        if refused:
            raise StoreConflict("other events were stored meanwhile", refused)
        if error_code in _WRONG_LAST_SEQUENCE | _WRITE_UNDER_WAY:
            raise Later("another write to the aggregate is under way", code="busy")
        raise StoreConflict("the log has an event with such an id already", ())

    async def _lies_elsewhere(self, commit: Commit) -> bool:
        """Whether the aggregate's last event has another place than expected: in another log."""
        last = await self._histories.last(commit.aggregate, commit.aggregate_id)
        return last != commit.expected.sequence


def _positions(commits: Sequence[Commit], last: int) -> tuple[Position, ...]:
    """Where each commit ends in a batch whose last message has the sequence `last`."""
    sequence = last - sum(len(commit.events) for commit in commits)
    positions = []
    for commit in commits:
        sequence += len(commit.events)
        positions.append(Position(commit.events[-1].metadata.aggregate_version, sequence))
    return tuple(positions)
