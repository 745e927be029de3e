"""Processes: what happens because something happened.

    class Builder(Process):
        @reacts
        async def build(self, event: BuildRequested) -> CompleteBuild | FailBuild:
            ...

A process is the only place for effects: running a tool, calling another service. It returns the
commands that follow: one, several or none. It runs at least once for each event; the commands have
one effect all the same, because their ids are derived from the event's.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from attrs import frozen

from cim_domain.errors import ModelError
from cim_domain.model.handlers import Handler, mark, mentioned, one_for_each
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Recorded
from cim_domain.model.naming import snake_case
from cim_domain.model.source_location import where
from cim_domain.model.subjects import require_name

Reacts = TypeVar("Reacts", bound=Callable[..., Awaitable[Command | Sequence[Command] | None]])


class Process:
    """The base of every process; `name` defaults to the class's name in lower snake case.

    A process that is new to a domain reacts to what happens from then on; with `history=True` to
    all that has happened, too. An instance reacts to up to `concurrency` events at a time, to those
    of one aggregate one after another.
    """

    process_name: ClassVar[str] = ""
    process_history: ClassVar[bool] = False
    process_concurrency: ClassVar[int] = 16

    def __init_subclass__(
        cls, *, name: str | None = None, history: bool = False, concurrency: int = 16
    ) -> None:
        super().__init_subclass__()
        cls.process_name = name or snake_case(cls.__name__)
        cls.process_history = history
        cls.process_concurrency = concurrency


def reacts(method: Reacts) -> Reacts:
    """Mark an async method that takes an event and returns the commands that follow from it."""
    mark(method, "reacts")
    return method


@frozen
class ProcessModel:
    """A process, read and checked: which method reacts to which event."""

    process: Process
    name: str
    events: Mapping[type[Event], Handler]
    history: bool
    concurrency: int

    @property
    def commands(self) -> set[type[Command]]:
        """The commands that its methods say they return."""
        return {
            command
            for handler in self.events.values()
            for command in mentioned(handler.returns, Command)
        }

    async def react(self, recorded: Recorded[Event]) -> tuple[Command, ...]:
        """The commands that follow from the event.

        Raises what the method raises, and `TypeError` where it returns anything but commands.
        """
        handler = self.events[type(recorded.event)]
        answer: Any = await handler.call(self.process, recorded.event, recorded.metadata)
        if answer is None:
            return ()
        commands = (answer,) if isinstance(answer, Command) else tuple(answer)
        for one in commands:
            if not isinstance(one, Command):
                raise TypeError(f"{where(type(self.process))} returned {one!r:.100}, no command")
        return commands


def read_process(process: Process) -> ProcessModel:
    """Read a process. Raises `ModelError`, naming class and file, for a mistake in it."""
    cls = type(process)
    require_name(cls.process_name, f"{where(cls)}: the process's name")
    found = one_for_each(cls, "reacts", Event)
    if not found:
        raise ModelError(f"{where(cls)}: no @reacts method")
    return ProcessModel(
        process=process,
        name=cls.process_name,
        events=found,
        history=cls.process_history,
        concurrency=cls.process_concurrency,
    )
