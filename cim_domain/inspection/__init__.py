"""Looking into the log: an aggregate as it was, and what led to what."""

from cim_domain.inspection.causation import causation, causation_of, rejections
from cim_domain.inspection.time_travel import as_of, changes, history_of

__all__ = ["as_of", "causation", "causation_of", "changes", "history_of", "rejections"]
