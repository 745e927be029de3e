"""Views in memory: for services that build them anew at every start, and for tests."""

from cim_domain.views.memory.database import MemoryViews

__all__ = ["MemoryViews"]
