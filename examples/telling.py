"""Telling what goes on: each request with its reply, and each event as it comes."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from rich.text import Text

from cim_domain.cli.output import Output, json_text
from cim_domain.cli.rendering.tables import error_rows, result, status
from cim_domain.client import DomainClient, Outcome
from examples.witness import Heard, Witness


class Unexpected(Exception):
    """Something is not as this demonstration expects it."""


@define
class Teller:
    """Sends and asks, and tells of it: where it writes, whom it asks, what it has seen."""

    output: Output
    client: DomainClient
    witness: Witness
    statuses: dict[str, str] = field(factory=dict)
    sequence: int = 0
    """The place in the log of the newest event."""

    def heading(self, title: str, explanation: str) -> None:
        """Begin a part."""
        self.output.show(Text(f"\n{title}", style="bold underline"))
        self.output.show(Text(explanation, style="dim"))

    async def send(
        self,
        message_type: str,
        fields: Mapping[str, Any],
        expected: str = "accepted",
        *,
        cause: Heard | None = None,
        leads_to: int = 1,
    ) -> Heard | None:
        """Send a command, show what came of it and the events that follow; the last of them.

        `leads_to` is how many events there are in all, those of the worker's commands included.
        """
        outcome = await self.client.send(
            message_type,
            fields,
            correlation_id=cause.correlation_id if cause else None,
            causation_id=cause.id if cause else None,
        )
        self.statuses[str(outcome.command_id)] = outcome.status
        self._show_request(f"nix.cmd.{message_type}", fields)
        self.output.show(Text.assemble(("<- ", "dim"), status(outcome.status)))
        expect(outcome.status == expected, f"{message_type}: {outcome.status}, not {expected}")
        if outcome.error is not None:
            self._show_error(outcome)
            return None
        event = None
        for _ in range(leads_to):
            event = await self.witness.next_event()
            self._show_event(event)
        return event

    async def ask(self, message_type: str, fields: Mapping[str, Any]) -> Any:
        """Ask a query about views that have read all events so far, and show the answer."""
        answer = await self.client.ask(message_type, fields, min_sequence=self.sequence)
        self._show_request(f"nix.query.{message_type}", fields)
        self.output.show(result(answer.json()))
        expect((answer.sequence or 0) >= self.sequence, f"{message_type}: answered too early")
        return answer.json()

    def _show_request(self, subject: str, fields: Mapping[str, Any]) -> None:
        words = Text.assemble(("\n-> ", "dim"), (subject, "bold"), f" {json_text(fields)}")
        self.output.show(words)

    def _show_error(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            for name, words in error_rows(outcome.error):
                self.output.show(Text.assemble((f"     {name:<7}", "dim"), words))

    def _show_event(self, event: Heard) -> None:
        self.sequence = int(event.headers["Nats-Sequence"])
        self.output.show(
            event_row(
                str(self.sequence),
                event.subject,
                event.headers["X-Aggregate-Version"],
                *(one[:8] for one in (event.id, event.correlation_id, event.causation_id)),
            )
        )


def event_row(sequence: str, subject: str, version: str, *ids: str) -> Text:
    """One line of the table of events."""
    return Text.assemble(
        (f"{sequence:>3} ", "bold"),
        (f"{subject:<34}", "cyan"),
        (f"{version:<8}" + "".join(f"{one:<12}" for one in ids).rstrip(), "dim"),
    )


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `Unexpected` unless it is as expected."""
    if not condition:
        raise Unexpected(otherwise)
