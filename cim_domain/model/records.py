"""Events as they are kept: the record that stores hold and readers get."""

from attrs import evolve, frozen

from cim_domain.model.metadata import Metadata


@frozen
class EventRecord:
    """An event as it is kept: its metadata, and its own fields as JSON."""

    metadata: Metadata
    data: bytes

    def stored_at(self, sequence: int) -> "EventRecord":
        """The same, once the log has given the event its place."""
        return evolve(self, metadata=self.metadata.stored_at(sequence))
