"""When an event, then commands: what a process does, without any server.

    reaction = await ProcessScenario(Waiting()).when(BookReturned(isbn=ISBN, reserved_by="bob"))
    reaction.then(LendBook(isbn=ISBN, member="bob"))

What a process needs for its effects, a test gives to it: `Mailing(outbox)`.
"""

from typing import Any

from attrs import Factory, field, frozen

from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Recorded
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.process import Process, ProcessModel, examine_process
from cim_domain.testing.messages import as_stored, listed, metadata


def _model(scenario: "ProcessScenario") -> ProcessModel:
    mistakes = Mistakes()
    model = examine_process(scenario.process, mistakes)
    mistakes.refuse()
    return model


@frozen
class Reaction:
    """The commands that followed from an event."""

    commands: tuple[Command, ...]

    def then(self, *expected: Command) -> None:
        """Check that exactly these commands followed, in this order."""
        __tracebackhide__ = True
        if self.commands != expected:
            raise AssertionError(
                f"expected {listed('command', expected)}\n"
                f"but there followed {listed('command', self.commands)}"
            )

    def then_nothing(self) -> None:
        """Check that no command followed."""
        __tracebackhide__ = True
        self.then()


@frozen
class ProcessScenario:
    """A process. Raises `ModelError` for a mistake in the class."""

    process: Process
    model: ProcessModel = field(
        default=Factory(_model, takes_self=True), repr=False, eq=False, kw_only=True
    )

    async def when(self, event: Event, **fields: Any) -> Reaction:
        """What follows from an event; `fields` are any of its `Metadata`.

        Raises what the method raises, and `AssertionError` where none reacts to such events.
        """
        __tracebackhide__ = True
        if type(event) not in self.model.events:
            name = type(self.process).__name__
            raise AssertionError(f"{name} does not react to {event!r}")
        recorded = Recorded(as_stored(event), metadata(event, **fields))
        return Reaction(await self.model.react(recorded))
