"""What every store of events must do, as tests that an adapter subclasses."""

from cim_domain.testing.store.conformance import EventStoreConformance, PersistentConformance
from cim_domain.testing.store.state_machine import StoreModel

__all__ = ["EventStoreConformance", "PersistentConformance", "StoreModel"]
