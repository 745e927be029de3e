"""What messages in tests have beside their own fields: metadata, a clock, a way through JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from cim_domain.model.messages import Event, Message
from cim_domain.model.metadata import Metadata
from cim_domain.model.read_back import Altered, stored_event

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of the first message of a scenario; each further one is a second later."""

E = TypeVar("E", bound=Event)


class ManualClock:
    """A `Clock` that stands still until a test moves it.

    ``Scenario(Order, clock=clock)``, ``running(domain, clock=clock)``.
    """

    def __init__(self, now: datetime = START) -> None:
        self.set(now)

    def __call__(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        """Have it be that time. Raises `ValueError` for one without a time zone."""
        if now.tzinfo is None:
            raise ValueError(f"{now.isoformat()} has no time zone")
        self._now = now.astimezone(UTC)

    def advance(self, by: timedelta | float) -> None:
        """Have it be so much later, or so many seconds."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)


def metadata(message: Message | type[Message] | str = "test.message", **fields: Any) -> Metadata:
    """Metadata for a message, or for a type; `fields` are any of those of `Metadata`.

    Without them it is the root with the id that is 1 as a UUID, at `START`, sent by a client; that
    of an event is the first of its aggregate and of the log.
    """
    is_event = isinstance(message, Event) or (
        isinstance(message, type) and issubclass(message, Event)
    )
    message_id = fields.get("message_id", str(UUID(int=1)))
    found: dict[str, Any] = {
        "message_id": message_id,
        "message_type": message if isinstance(message, str) else message.message_type,
        "correlation_id": message_id,
        "causation_id": message_id,
        "timestamp": START,
        "source": "client",
    }
    if is_event:
        found |= {
            "aggregate_id": str(UUID(int=1)),
            "aggregate_version": 1,
            "sequence": 1,
            "schema_version": message.schema_version,  # type: ignore[union-attr]
        }
    return Metadata(**{**found, **fields})


def as_stored(event: E) -> E:
    """The event as it comes back from the log. Raises `AssertionError` where that is another."""
    try:
        stored: Any = stored_event(event)[1]
    except Altered as error:
        raise AssertionError(f"{event!r} cannot be stored: {error}") from error
    found: E = stored
    return found


def listed(kind: str, found: tuple[object, ...]) -> str:
    """What there is, a line each, for the text of a check that fails."""
    return "\n    ".join([f"these {kind}s:", *map(repr, found)]) if found else f"no {kind}"
