"""The stream that holds a domain's events."""

from cim_domain.model.subjects import Subjects
from cim_domain.nats.jetstream.streams import StreamDefinition


def event_stream(subjects: Subjects, replicas: int = 1) -> StreamDefinition:
    """The stream that holds a domain's events; nothing can be deleted from it."""
    return StreamDefinition(
        subjects.event_stream,
        {
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
        },
    )
