"""Processes: what happens because something happened.

    class Builder(Process):
        @reacts
        async def build(self, event: BuildRequested) -> CompleteBuild | FailBuild:
            ...

A process is the only place for effects: running a tool, calling another service. It returns the
commands that follow: one, several or none. It runs at least once for each event; the commands have
one effect all the same, because their ids are derived from the event's.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from attrs import frozen

from cim_domain.model.failures import awaited_model_code
from cim_domain.model.handlers import Handler, mark, mentioned, misplaced, one_for_each
from cim_domain.model.messages import Command, Event
from cim_domain.model.metadata import Recorded
from cim_domain.model.mistakes import (
    Mistakes,
    begin,
    chosen_name,
    keep_names,
    note,
    only_known,
    whole,
)
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
        cls,
        *,
        name: str | None = None,
        history: bool = False,
        concurrency: int = 16,
        **kwargs: Any,
    ) -> None:
        begin(cls)
        super().__init_subclass__(**only_known(cls, kwargs, ("name", "history", "concurrency")))
        keep_names(cls, Process, _KEYWORDS)
        cls.process_name = chosen_name(cls, name)
        cls.process_history = history is True
        if history not in (True, False):
            note(cls, f"history {history!r} is neither True nor False")
        cls.process_concurrency = whole(cls, "concurrency", concurrency)


_KEYWORDS = {
    "process_name": "name=",
    "process_history": "history=",
    "process_concurrency": "concurrency=",
}


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
        with awaited_model_code:
            answer: Any = await handler.call(self.process, recorded.event, recorded.metadata)
            if answer is None:
                return ()
            commands = (answer,) if isinstance(answer, Command) else tuple(answer)
        for one in commands:
            if not isinstance(one, Command):
                raise TypeError(f"{where(type(self.process))} returned {one!r:.100}, no command")
        return commands


def examine_process(process: Process, mistakes: Mistakes) -> ProcessModel:
    """What can be read of a process, with the mistakes in it."""
    cls = type(process)
    before = len(mistakes)
    mistakes.take_noted(cls)
    with mistakes.gathered():
        require_name(cls.process_name, f"{where(cls)}: the process's name")
    misplaced(cls, ("reacts",), mistakes)
    found = one_for_each(cls, "reacts", Event, mistakes)
    if not found and len(mistakes) == before:
        mistakes.add(f"{where(cls)}: no @reacts method")
    for message in (*found, *(one for model in found.values() for one in _sent(model))):
        mistakes.take_noted(message)
    return ProcessModel(
        process=process,
        name=cls.process_name,
        events=found,
        history=cls.process_history,
        concurrency=cls.process_concurrency,
    )


def _sent(handler: Handler) -> Iterator[type[Command]]:
    return mentioned(handler.returns, Command)
