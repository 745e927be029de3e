"""Events on their way into the stream: subjects, headers, sizes, parts of an atomic batch."""

from functools import lru_cache

from attrs import frozen

from cim_domain.errors import Failed, Invalid
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.hardened_client import HardenedClient
from cim_domain.nats.connection.limits import check_sizes
from cim_domain.nats.connection.publications import extended, header_block
from cim_domain.store.port import Commit, Limits
from cim_domain.wire.codec import event_headers

HEADERS_MARGIN = 8 * 1024
"""Bytes of `max_payload` that an event's data leave to its headers; half of a small one."""

EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
BATCH_ID = "Nats-Batch-Id"
BATCH_SEQUENCE = "Nats-Batch-Sequence"
BATCH_COMMIT = "Nats-Batch-Commit"

_BATCH_ROOM = 128
"""Bytes that a batch may add to a message's headers."""
_LONG_INBOX = "_" * 64


@lru_cache(maxsize=8)
def limits_of(max_payload: int) -> Limits:
    """What an append may hold on a connection that takes messages of so many bytes."""
    return Limits(events=1000, event_bytes=max_payload - min(HEADERS_MARGIN, max_payload // 2))


@frozen
class Publication:
    """A message on its way into the stream."""

    subject: str
    data: bytes
    block: bytes
    """Its headers."""

    def in_batch(self, batch: str, number: int, *, commit: bool) -> "Publication":
        """The same as a part of an atomic batch."""
        lines = f"{BATCH_ID}: {batch}\r\n{BATCH_SEQUENCE}: {number}\r\n"
        if commit:
            lines += f"{BATCH_COMMIT}: 1\r\n"
        return Publication(self.subject, self.data, extended(self.block, lines))


def publications(subjects: Subjects, commit: Commit) -> list[Publication]:
    """The messages of a commit; they expect what the commit expects.

    The expectations are on the first message alone: they hold for all that the batch adds to this
    aggregate, and every reader of the log pays for each header. The stream is named so that a
    writer is refused whose partition has moved to another one, where sequences are others.
    """
    root = subjects.journal_root(commit.aggregate, commit.aggregate_id)
    expectation = {
        EXPECTED_STREAM: subjects.event_stream,
        EXPECTED_SEQUENCE: str(commit.expected.sequence),
        EXPECTED_SUBJECT: f"{root}*",
    }
    outgoing: list[Publication] = []
    for event in commit.events:
        headers = event_headers(event.metadata)
        if not outgoing:
            headers.update(expectation)
        action = event.metadata.message_type.partition(".")[2]
        outgoing.append(Publication(f"{root}{action}", event.data, header_block(headers)))
    return outgoing


def check_size(client: HardenedClient, message: Publication) -> None:
    """Raise `Failed` for a message that would end the connection, as the last of a batch."""
    block = len(message.block) + _BATCH_ROOM
    try:
        check_sizes(client, message.subject, block, len(message.data), reply=_LONG_INBOX)
    except Invalid as error:
        raise Failed(error.message, code="too_large", details=error.details) from error
