"""Model a domain as aggregates, events and projections, and run it on NATS JetStream.

This package's own names are the modelling vocabulary: all that the code of a domain imports.
"""

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
from cim_domain.model.interception import Handled, Proceed, intercepts
from cim_domain.model.messages import Command, Event, Json, Message, Query, upcasts
from cim_domain.model.metadata import Metadata, Recorded
from cim_domain.model.process import Process, reacts
from cim_domain.model.projection import Projection, answers, projects
from cim_domain.model.view import Page, View, Views

__all__ = [
    "Aggregate",
    "Busy",
    "CimError",
    "Command",
    "Conflict",
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
