"""The stream that holds a domain's events: how it is made, and which log it is.

What can never change is in the stream's metadata: the log's identity, a UUID that is made with it,
and the number of its partitions.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from attrs import evolve

from cim_domain.errors import ConfigurationError
from cim_domain.model.subjects import Subjects
from cim_domain.nats.connection.requests import Requests
from cim_domain.nats.jetstream.streams import (
    StreamDefinition,
    ensure_stream,
    holds_others,
    stream_config,
)
from cim_domain.partition import LARGEST_NUMBER, PARTITIONS
from cim_domain.store.port import LogIdentity

LOG_ID = "cim_domain_log"
LOG_PARTITIONS = "cim_domain_partitions"

KEPT = ("metadata",)
"""Settings of the stream that are as they were when it was made."""


def event_stream(
    subjects: Subjects, replicas: int = 1, identity: LogIdentity | None = None
) -> StreamDefinition:
    """The stream that holds a domain's events; nothing can be deleted from it.

    Without an identity it is one that is about to be made.
    """
    identity = identity or LogIdentity.new()
    config = {
        "subjects": [subjects.journals],
        "storage": "file",
        "retention": "limits",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "discard": "new",
        "duplicate_window": 120 * 1_000_000_000,
        "allow_direct": True,
        "allow_atomic": True,
        "deny_delete": True,
        "deny_purge": True,
        "republish": {"src": subjects.journals, "dest": subjects.republished},
        "metadata": {LOG_ID: identity.log_id, LOG_PARTITIONS: str(identity.partitions)},
    }
    return StreamDefinition(subjects.event_stream, config)


async def ensure_log(
    requests: Requests, subjects: Subjects, replicas: int = 1, partitions: int | None = None
) -> LogIdentity:
    """Have the log exist, and say which one it is. A new one gets so many partitions.

    Raises `ConfigurationError` for a log of another layout, one that the kit has not made, or one
    with another number of partitions than is asked for; and what `ensure_stream` raises.
    """
    found = await stream_config(requests, subjects.event_stream)
    if found is None:
        identity = LogIdentity.new(partitions or PARTITIONS)
    else:
        identity = log_identity(subjects, found)
    await ensure_stream(requests, event_stream(subjects, replicas, identity), keep=KEPT)
    if found is None:
        # Another instance may have been quicker, and its log is the one there is.
        identity = log_identity(subjects, await stream_config(requests, subjects.event_stream))
    if partitions not in {None, identity.partitions}:
        raise ConfigurationError(
            f"CIM_DOMAIN_PARTITIONS (service.partitions): {partitions} is asked for, and the log in"
            f" {subjects.event_stream} was made with {identity.partitions}, which never changes:"
            " leave the setting out"
        )
    return identity


def log_identity(subjects: Subjects, config: Mapping[str, Any] | None) -> LogIdentity:
    """Which log a stream's configuration is of. Raises `ConfigurationError` where it is none."""
    stream = subjects.event_stream
    held = list((config or {}).get("subjects") or ())
    if held == [subjects.journals.removesuffix(".*")]:
        raise ConfigurationError(
            f"the stream {stream} holds {held[0]}: it was made by an earlier release, whose events"
            f" have no partition in their subjects. This release cannot go on with it; use another"
            " subject prefix or account, or delete the stream if nothing in it is wanted"
        )
    if foreign := sorted({*held} - {subjects.journals}):
        raise holds_others(stream, foreign)
    metadata = (config or {}).get("metadata") or {}
    log_id, partitions = metadata.get(LOG_ID, ""), metadata.get(LOG_PARTITIONS, "")
    try:
        identity = LogIdentity(str(UUID(log_id)), int(partitions))
    except (TypeError, ValueError):
        identity = None
    if identity is None or not 1 <= identity.partitions <= LARGEST_NUMBER:
        raise ConfigurationError(
            f"the stream {stream} does not say which log it is ({LOG_ID} and {LOG_PARTITIONS} in"
            " its metadata): something else has made it. Have the service make it, under another"
            " subject prefix if need be"
        )
    return identity


def partitioned(subjects: Subjects, identity: LogIdentity) -> Subjects:
    """The subjects of a domain as its log has them."""
    return evolve(subjects, partitions=identity.partitions)
