"""What every database of views must do, as tests that an adapter subclasses."""

from cim_domain.testing.views.conformance import ViewsConformance

__all__ = ["ViewsConformance"]
