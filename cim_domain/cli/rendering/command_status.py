"""How a stored command stands, as people and programs see it."""

from typing import Any

from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.exit_codes import Refused
from cim_domain.cli.rendering.tables import facts, outcome_panel, status
from cim_domain.cli.session import Session
from cim_domain.wire.codec import write_time
from cim_domain.wire.command_status import CommandStatus


def show_status(session: Session, standing: CommandStatus) -> None:
    """How a stored command stands. Raises `Refused` where it ended otherwise than accepted."""
    if session.json:
        session.output.document(standing.as_dict())
    else:
        if standing.outcome is not None and standing.final:
            session.output.show(outcome_panel(standing.outcome))
            more: dict[str, Any] = {}
        else:
            at = write_time(standing.at) if standing.at else None
            more = {"status": standing.state, "command": standing.command_id, "at": at}
            more["reason"] = standing.error.message if standing.error else None
        if standing.attempts > 1:
            more["attempts"] = standing.attempts
        if standing.dead_letter:
            more["dead letter"] = "yes"
        if more:
            session.output.show(_rows(more))
    if standing.final and standing.state != "accepted":
        raise Refused


def show_found(session: Session, found: dict[str, Any]) -> None:
    """What a service said about a stored command."""
    if session.json:
        session.output.document(found)
    else:
        words = {"command_id": "command"}
        session.output.show(_rows({words.get(name, name): one for name, one in found.items()}))


def _rows(found: dict[str, Any]) -> Text:
    """A line for each thing that says something."""
    return facts(
        [
            (name, status(value) if name == "status" else Text(escaped(str(value))))
            for name, value in found.items()
            if value
        ]
    )
