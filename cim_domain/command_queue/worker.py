"""Carrying out the commands that were stored first.

At least once, by one of the instances, and with one effect: the id of a command stays the same
whenever it is delivered. What came of it is kept before the server may forget the command.

What only newer code can do is left to it: a command on an aggregate with newer events for as long
as it takes, one of a type that is unknown here for `UNKNOWN_FOR` seconds: it may be a mistake.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from attrs import evolve, frozen

from cim_domain.command_queue.status_store import StatusStore
from cim_domain.command_queue.stream import SCHEDULER, stream_id, submitted_metadata
from cim_domain.commands.decisions import CommandRequest
from cim_domain.commands.decoding import NOT_A_REQUEST, read_command
from cim_domain.commands.results import ID_TAKEN
from cim_domain.dead_letters import DeadLetter, DeadLetters
from cim_domain.errors import (
    Busy,
    Conflict,
    Invalid,
    NotFound,
    Outdated,
    Rejected,
    RequestError,
    Unavailable,
)
from cim_domain.model.cross_checks import RESERVED
from cim_domain.model.domain import Domain
from cim_domain.model.messages import TYPE
from cim_domain.model.metadata import Clock, Metadata, utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import call
from cim_domain.nats.jetstream.subscriber import (
    ConsumerDefinition,
    Postponed,
    Received,
    Retries,
    Subscriber,
)
from cim_domain.observability.health import HealthCheck, look_at_subscriber
from cim_domain.wire.codec import COMMAND_ID, MAX_ERROR_HEADERS
from cim_domain.wire.command_status import CommandStatus, State
from cim_domain.wire.outcome import Outcome

logger = logging.getLogger("cim_domain.commands")

CONSUMER = "commands"
DEAD_LETTERS = "submit"
CONCURRENCY = 64

UNKNOWN_FOR = 3600.0
"""Seconds after being stored that a command of a type that is unknown here waits for newer code.
One that no code has met until then is handed back some times yet: `Retries.uncounted_deliveries`.
"""

_ROOM = MAX_ERROR_HEADERS + 4096

Execute = Callable[[CommandRequest], Awaitable[Outcome]]
"""Carries out a command of the domain."""


FirstOutcome = Callable[[CommandRequest], Awaitable[Outcome | None]]
"""What came of a command when it was carried out before, if that is known."""


async def _unknown_outcome(_: CommandRequest) -> Outcome | None:
    return None


class QueueWorker:
    """Works off the queue of stored commands."""

    def __init__(
        self,
        domain: Domain,
        link: Link,
        subjects: Subjects,
        execute: Execute,
        standings: StatusStore,
        dead_letters: DeadLetters,
        retries: Retries,
        clock: Clock = utc_now,
        first_outcome: FirstOutcome = _unknown_outcome,
    ) -> None:
        """`first_outcome` tells what came of a command that may have been carried out before."""
        self._first_outcome = first_outcome
        self._unsure: set[int] = set()
        """The sequences of those that were begun here, and may have been done."""
        self._domain = domain
        self._link = link
        self._subjects = subjects
        self._execute = execute
        self._standings = standings
        self._hand_backs = retries.uncounted_deliveries
        self._clock = clock
        self._stream_id = ""
        self._subscriber = Subscriber(
            link,
            ConsumerDefinition(
                stream=subjects.command_stream,
                name=CONSUMER,
                filter_subject=subjects.submissions,
                history=True,
            ),
            self._handle,
            _Named(dead_letters, self._metadata),
            bucket=standings.bucket,
            dead_letter_name=DEAD_LETTERS,
            retries=retries,
            concurrency=CONCURRENCY,
            on_failure=self._failed,
        )

    async def start(self) -> None:
        """Begin. Raises `ApiError` and `NoAnswer`."""
        name = self._subjects.command_stream
        info = await call(self._link.requests, f"STREAM.INFO.{name}")
        self._stream_id = stream_id(name, info["created"])
        await self._subscriber.start()

    async def stop(self) -> None:
        """Take nothing new, and return when the commands under way have ended."""
        await self._subscriber.stop()

    def look(self, lag_allowed: int) -> HealthCheck:
        """How many commands wait, for health; more than `lag_allowed` are a problem."""
        return look_at_subscriber(self._subscriber, lag_allowed)

    async def _handle(self, received: Received) -> None:
        try:
            metadata = self._metadata(received)
        except RequestError as error:
            if error.code != NOT_A_REQUEST:
                raise
            # As on nix.cmd: whoever may only read a stream cannot fill the dead letters.
            logger.warning("%s, message %d: %s", received.subject, received.sequence, error.message)
            return
        try:
            if await self._is_settled(received, metadata):
                return
            await self._carry_out(received, metadata)
        except Outdated:
            raise
        except (Busy, Unavailable) as error:
            raise Postponed.by(error) from error
        except NotFound as error:
            if metadata.message_type in self._domain.commands:
                raise
            raise self._unknown(received, metadata, error) from error

    async def replay(self, received: Received) -> Outcome:
        """Carry out a command that is a dead letter, under the id that it had; what came of it.

        Raises the error of one about which the domain has still not said its last word.
        """
        return await self._carry_out(received, self._metadata(received))

    async def _carry_out(self, received: Received, metadata: Metadata) -> Outcome:
        request = read_command(self._domain, metadata, received.headers, received.data)
        outcome = await self._execute(request)
        again = received.deliveries > 1 or received.sequence in self._unsure
        if outcome.error is not None and again:
            # An interceptor refuses before it is seen that the command was done, and that only the
            # acknowledgement is missing.
            outcome = await self._first_outcome(request) or outcome
        if outcome.error is not None and not is_final(outcome.error):
            self._unsure.add(received.sequence)
            raise outcome.error
        self._unsure.discard(received.sequence)
        standing = CommandStatus.done(
            outcome, metadata.message_id, received.deliveries, request.digest
        )
        standing = evolve(standing, outcome=self._to_keep(outcome))
        if outcome.error is not None and outcome.error.code == ID_TAKEN:
            # What is kept under the id is what came of the other command, if that is settled.
            await self._standings.put_unless_settled(standing, metadata.organization_id)
        else:
            await self._standings.put(standing, metadata.organization_id)
        return outcome

    def _unknown(
        self, received: Received, metadata: Metadata, error: NotFound
    ) -> Outdated | Invalid:
        """What stands in the way of a command of a type that the domain does not have here."""
        new = received.deliveries <= self._hand_backs or (
            received.stored_at is not None
            and self._clock() - received.stored_at < timedelta(seconds=UNKNOWN_FOR)
        )
        message_type = metadata.message_type
        # What no code can have is not waited for.
        possible = TYPE.fullmatch(message_type) and not message_type.startswith(f"{RESERVED}.")
        if new and possible:
            return Outdated(
                f"{error.message} as far as this code knows: it waits for newer code, until an hour"
                " after it was stored, and is invalid then",
                code=error.code,
            )
        return Invalid(error.message, code=error.code)

    def _metadata(self, received: Received) -> Metadata:
        message_type = self._subjects.type_in(received.subject)
        return submitted_metadata(message_type, received, self._stream_id, self._clock)

    async def _is_settled(self, received: Received, metadata: Metadata) -> bool:
        """Whether nothing is to be done any more: it was, or it was cancelled at the last moment.

        Of a scheduled command and its cancellation, the one that begins first is what counts.
        """
        scheduled = SCHEDULER in received.headers
        organization_id = metadata.organization_id
        waiting = CommandStatus(state="waiting", command_id=metadata.message_id)
        if scheduled and await self._standings.begin(waiting, organization_id):
            return False
        if not scheduled and received.deliveries == 1:
            return False
        known = await self._standings.get(metadata.message_id, organization_id)
        if known is None:
            if scheduled:
                raise Unavailable("somebody else is writing how the command stands")
            return False
        return known.final and (received.deliveries > 1 or known.state == "cancelled")

    async def _failed(self, received: Received, error: RequestError, dead: bool) -> None:  # noqa: FBT001
        """Keep how the command stands after an attempt that failed."""
        try:
            metadata = self._metadata(received)
        except RequestError:
            # Where nobody can tell whose it is, nobody can ask for it.
            return
        outcome = Outcome.refused(error, self._with_aggregate(metadata, received))
        undone: State = "waiting" if isinstance(error, Outdated) else "retrying"
        standing = CommandStatus(
            state=outcome.status if dead else undone,
            command_id=metadata.message_id,
            outcome=self._to_keep(outcome),
            attempts=received.deliveries,
            dead_letter=dead,
        )
        await self._standings.put_unless_settled(standing, metadata.organization_id)

    def _to_keep(self, outcome: Outcome) -> Outcome:
        """An outcome as it fits into one message, with how the command stands around it."""
        return outcome.within(self._link.client.max_payload - _ROOM)

    def _with_aggregate(self, metadata: Metadata, received: Received) -> Metadata:
        try:
            return read_command(self._domain, metadata, received.headers, received.data).metadata
        except RequestError:
            return metadata


@frozen
class _Named:
    """Dead letters that have their command's id in the header, where a replay finds it.

    What else the id may come from does not stay in a letter.
    """

    _letters: DeadLetters
    _metadata: Callable[[Received], Metadata]

    async def put(self, letter: DeadLetter) -> None:
        received = Received(
            letter.subject, letter.headers, letter.data, letter.sequence, letter.deliveries
        )
        with suppress(RequestError):
            command_id = self._metadata(received).message_id
            letter = evolve(letter, headers={**letter.headers, COMMAND_ID: command_id})
        await self._letters.put(letter)

    async def count(self) -> int:
        return await self._letters.count()


def is_final(error: RequestError) -> bool:
    """Whether the domain has decided, so that to ask again would change nothing."""
    if isinstance(error, Conflict):
        # Not where others were merely quicker for a while.
        return error.code != Conflict.default_code or "expected_version" in error.details
    return isinstance(error, Rejected)
