"""Histories of flakes as messages of the log, by the hundred thousand.

One history is made by the kit's own codec; the others are that one with other ids and another path.
"""

from collections.abc import Iterator

from attrs import frozen

from aggregates.nix.flake import FlakeCreated, FlakeInputAdded, FlakeInputRemoved, FlakeUpdated
from cim_domain import Event, Metadata
from cim_domain.identity import aggregate_id
from cim_domain.model.metadata import utc_now
from cim_domain.model.subjects import Subjects
from cim_domain.store.jetstream.publications import (
    EXPECTED_SEQUENCE,
    EXPECTED_STREAM,
    EXPECTED_SUBJECT,
)
from cim_domain.wire.codec import event_headers

_URL = "github:NixOS/nixpkgs/nixos-unstable"
# Stand-ins, each of which stands nowhere else in a message.
_ID, _PATH, _EXPECTED = "@ID@", "/@PATH@", "@EXPECTED@"
_EVENT, _CAUSE, _JOURNAL = "@EVENT@", "@CAUSE@", "@JOURNAL@"


@frozen
class StreamMessage:
    """One message on its way into a stream; `headers` as they go over the wire."""

    subject: bytes
    headers: bytes
    data: bytes


@frozen
class Histories:
    """`flakes` flakes with `length` events each, `side_by_side` of them growing at a time."""

    subjects: Subjects
    flakes: int
    length: int
    side_by_side: int = 250

    @property
    def events(self) -> int:
        """How many there are in all."""
        return self.flakes * self.length

    def path(self, flake: int) -> str:
        """Of one of the flakes, counted from 0."""
        return f"/srv/filled-{flake:07}"

    def aggregate_id(self, flake: int) -> str:
        """Of one of the flakes, counted from 0."""
        return aggregate_id(self.subjects.domain, None, "flake", [self.path(flake)])

    def messages(self) -> Iterator[StreamMessage]:
        """All of them, for a stream that is empty: each expects the sequence that it will meet."""
        templates = [self._template(place, event) for place, event in enumerate(self._events(), 1)]
        sequence = 0
        for start in range(0, self.flakes, self.side_by_side):
            group = range(start, min(start + self.side_by_side, self.flakes))
            names = [
                {
                    b"id": identifier.encode(),
                    b"journal": self.subjects.journal_root("flake", identifier).encode(),
                    b"path": self.path(flake).encode(),
                }
                for flake in group
                for identifier in [self.aggregate_id(flake)]
            ]
            for place, template in enumerate(templates):
                for name in names:
                    sequence += 1
                    values = {
                        **name,
                        b"event": b"%08x-0000-5000-8000-000000000000" % sequence,
                        b"cause": b"%08x-0000-4000-8000-000000000000" % sequence,
                        b"expected": b"%d" % (sequence - len(group) if place else 0),
                    }
                    yield StreamMessage(
                        template.subject % values, template.headers % values, template.data % values
                    )

    def _events(self) -> Iterator[Event]:
        yield FlakeCreated(path=_PATH, description="a flake of the benchmarks")
        for place in range(1, self.length):
            name = f"input-{(place + 2) // 3}"
            match place % 3:
                case 1:
                    yield FlakeInputAdded(path=_PATH, name=name, url=_URL)
                case 2:
                    yield FlakeUpdated(path=_PATH)
                case _:
                    yield FlakeInputRemoved(path=_PATH, name=name, url=_URL)

    def _template(self, version: int, event: Event) -> StreamMessage:
        metadata = Metadata(
            message_id=_EVENT,
            message_type=event.message_type,
            correlation_id=_CAUSE,
            causation_id=_CAUSE,
            timestamp=utc_now(),
            source=self.subjects.service,
            aggregate_id=_ID,
            aggregate_version=version,
        )
        headers = {
            **event_headers(metadata),
            EXPECTED_STREAM: self.subjects.event_stream,
            EXPECTED_SEQUENCE: _EXPECTED,
            EXPECTED_SUBJECT: f"{_JOURNAL}*",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return StreamMessage(
            _format(f"{_JOURNAL}{event.message_type.partition('.')[2]}".encode()),
            _format(f"NATS/1.0\r\n{lines}\r\n".encode()),
            _format(event.to_wire()),
        )


def _format(text: bytes) -> bytes:
    """With places for values where the stand-ins are."""
    for stand_in, name in (
        (_ID, b"id"),
        (_JOURNAL, b"journal"),
        (_PATH, b"path"),
        (_EXPECTED, b"expected"),
        (_EVENT, b"event"),
        (_CAUSE, b"cause"),
    ):
        text = text.replace(stand_in.encode(), b"%(" + name + b")b")
    return text
