"""Model a domain as aggregates, events and projections, and run it on NATS JetStream.

This package's own names are the modelling vocabulary: all that the code of a domain imports. Each
is loaded when it is first asked for, so that what needs none of them, as the help of the command
line, does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cim_domain.errors import (
        Busy,
        CimError,
        Conflict,
        Invalid,
        ModelError,
        NotFound,
        Rejected,
        RequestError,
    )
    from cim_domain.identity import caused_id, derived_id
    from cim_domain.model.aggregate import Aggregate, decides, evolves
    from cim_domain.model.domain import Domain
    from cim_domain.model.fields.conditions import Condition
    from cim_domain.model.fields.conditions import field as field
    from cim_domain.model.interception import Handled, Proceed, intercepts
    from cim_domain.model.messages import Command, Event, Json, Message, Query, upcasts
    from cim_domain.model.metadata import Metadata, Recorded
    from cim_domain.model.process import Process, reacts
    from cim_domain.model.projection import Projection, answers, projects
    from cim_domain.model.view import Counted, Page, Summed, View, Views

# Not `field`: an aggregate's module has that of attrs, which a star must not replace.
__all__ = [
    "Aggregate",
    "Busy",
    "CimError",
    "Command",
    "Condition",
    "Conflict",
    "Counted",
    "Domain",
    "Event",
    "Handled",
    "Invalid",
    "Json",
    "Message",
    "Metadata",
    "ModelError",
    "NotFound",
    "Page",
    "Proceed",
    "Process",
    "Projection",
    "Query",
    "Recorded",
    "Rejected",
    "RequestError",
    "Summed",
    "View",
    "Views",
    "answers",
    "caused_id",
    "decides",
    "derived_id",
    "evolves",
    "intercepts",
    "projects",
    "reacts",
    "upcasts",
]

_PLACES = {
    "Aggregate": "cim_domain.model.aggregate",
    "Busy": "cim_domain.errors",
    "CimError": "cim_domain.errors",
    "Command": "cim_domain.model.messages",
    "Condition": "cim_domain.model.fields.conditions",
    "Conflict": "cim_domain.errors",
    "Counted": "cim_domain.model.view",
    "Domain": "cim_domain.model.domain",
    "Event": "cim_domain.model.messages",
    "Handled": "cim_domain.model.interception",
    "Invalid": "cim_domain.errors",
    "Json": "cim_domain.model.messages",
    "Message": "cim_domain.model.messages",
    "Metadata": "cim_domain.model.metadata",
    "ModelError": "cim_domain.errors",
    "NotFound": "cim_domain.errors",
    "Page": "cim_domain.model.view",
    "Proceed": "cim_domain.model.interception",
    "Process": "cim_domain.model.process",
    "Projection": "cim_domain.model.projection",
    "Query": "cim_domain.model.messages",
    "Recorded": "cim_domain.model.metadata",
    "Rejected": "cim_domain.errors",
    "RequestError": "cim_domain.errors",
    "Summed": "cim_domain.model.view",
    "View": "cim_domain.model.view",
    "Views": "cim_domain.model.view",
    "answers": "cim_domain.model.projection",
    "caused_id": "cim_domain.identity",
    "decides": "cim_domain.model.aggregate",
    "derived_id": "cim_domain.identity",
    "evolves": "cim_domain.model.aggregate",
    "field": "cim_domain.model.fields.conditions",
    "intercepts": "cim_domain.model.interception",
    "projects": "cim_domain.model.projection",
    "reacts": "cim_domain.model.process",
    "upcasts": "cim_domain.model.messages",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
