"""The commands that wait for one aggregate: in order, and each for a while only."""

import asyncio
from collections import deque

from attrs import define, field

from cim_domain.commands.decisions import CommandRequest, Rules
from cim_domain.commands.results import Answer
from cim_domain.errors import Busy, RequestError, Unavailable
from cim_domain.wire.outcome import Outcome

RUN = 200
"""So many commands to one aggregate are committed together at most."""


@define(eq=False)
class Work:
    """A command that waits, and where its outcome is wanted."""

    request: CommandRequest
    outcome: asyncio.Future[Outcome]
    deadline: float
    begun: bool = False
    kept: Answer | None = None
    """What was kept of it, though the aggregate has moved on since it was decided about."""

    def give(self, outcome: Outcome) -> None:
        """Answer it, unless it was: whoever asked may have given up, or been told to."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def refuse(self, error: RequestError) -> None:
        """Answer it with an error."""
        self.give(Outcome.refused(error, self.request.metadata))

    def expire(self) -> None:
        """Say that its time has run out."""
        self.refuse(
            Unavailable(
                "there was no time to carry it out; whether it had an effect is unknown until it is"
                " sent again with the same id"
            )
            if self.begun
            else Busy("there was no time to begin with it, and nothing was done; send it again")
        )


class Deadlines:
    """Ends commands whose time has run out, with one timer for all of them.

    All are given as much time, so that the one that came first is due first: a timer for each would
    cost more than many a decision.
    """

    def __init__(self) -> None:
        self._works: dict[Work, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, work: Work) -> None:
        """Have it expire at its deadline, which is none before that of those added earlier."""
        self._works[work] = None
        if self._timer is None:
            self._arm(work.deadline)

    def remove(self, work: Work) -> None:
        """Leave it alone from now on."""
        del self._works[work]

    def _arm(self, deadline: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for work in self._works:
            if work.deadline > now:
                self._arm(work.deadline)
                return
            work.expire()


@define(eq=False)
class Lane:
    """The commands that wait for one aggregate, and the task that works them off."""

    rules: Rules
    aggregate_id: str
    waiting: deque[Work] = field(factory=deque)
    size: int = 0
    """How many there are, with those that are being carried out."""
    task: asyncio.Task[None] | None = None

    def next_run(self, now: float) -> list[Work]:
        """The next commands to be carried out; those whose time has run out are dropped."""
        run: list[Work] = []
        while self.waiting and len(run) < RUN:
            work = self.waiting.popleft()
            if work.deadline > now:
                run.append(work)
                work.begun = True
            else:
                work.expire()
        return run
