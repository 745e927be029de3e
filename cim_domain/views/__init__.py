"""Where views are kept: one port, and adapters for memory and for SQL databases."""

from cim_domain.views.port import Change, CheckpointMoved, Superseded, ViewDatabase, ViewStore

__all__ = ["Change", "CheckpointMoved", "Superseded", "ViewDatabase", "ViewStore"]
