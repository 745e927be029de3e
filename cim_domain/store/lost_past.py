"""Telling what came of events that the log does not have any more.

A log may be brought back from an older copy while what was kept beside it stays.
"""

from cim_domain.store.port import EventStore
from cim_domain.wire.outcome import Basis


async def has_basis(log: EventStore, basis: Basis) -> bool:
    """Whether a log has the event that an outcome came of. Raises `Unavailable`."""
    if (await log.identity()).log_id != basis.log:
        return False
    return basis.sequence == 0 or await log.event_at(basis.sequence) == basis.event
