"""What the log holds that this code cannot read: looked at at the start, and told by health."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from cim_domain.errors import RequestError
from cim_domain.inspection.unknown_events import LogExamination, UnknownEvents
from cim_domain.observability.health import Check, HealthCheck, HealthStatus
from cim_domain.service.parts.part import Context, Part

logger = logging.getLogger("cim_domain.service.service")

CHECK = "events"

AT_THE_START = 1.0
"""Seconds for which the start waits for the first look, which goes on behind it."""

IN_HEALTH = 1.0
"""Seconds for which health waits for a look; then it tells what the one before has found."""

_SHARE = 50
"""The next look begins no sooner than after so many times as long as the last one took."""

_AGAIN = 0.5
"""Seconds after a look that the log did not allow."""


@define(eq=False)
class LogContents(Part):
    """Looks in the background, so that a long log holds nothing up."""

    _context: Context
    _examination: LogExamination = field(init=False)
    _looking: asyncio.Task[None] | None = field(default=None, init=False)
    _due: float = field(default=0.0, init=False)
    _told: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._examination = LogExamination(self._context.domain, self._context.log)

    async def start(self) -> None:
        """See `Part.start`."""
        await asyncio.wait([self._begin()], timeout=AT_THE_START)

    async def stop(self) -> None:
        """See `Part.stop`."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def checks(self) -> Mapping[str, HealthCheck]:
        """See `Part.checks`."""
        return {CHECK: self._look}

    async def _look(self) -> Check:
        looking = self._begin()
        await asyncio.wait([looking], timeout=IN_HEALTH)
        if looking.done() and not looking.cancelled() and (problem := looking.exception()):
            raise problem
        found = self._examination.found
        if found is None:
            return Check(HealthStatus.HEALTHY, {"position": 0})
        status = HealthStatus.DEGRADED if found.problems else HealthStatus.HEALTHY
        return Check(status, facts_of(found))

    def _begin(self) -> asyncio.Task[None]:
        """The look that is under way, or a new one, if it is time for that."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now >= self._due):
            self._looking = asyncio.create_task(self._examine())
            self._looking.add_done_callback(_retrieved)
        return self._looking

    async def _examine(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            found = await self._examination.look()
        finally:
            # A look that fails after a long time must not be made again at once.
            self._due = clock() + max(_AGAIN, _SHARE * (clock() - began))
        for about, sentence in {**found.problems, **found.hints}.items():
            if about not in self._told:
                self._told.add(about)
                logger.warning("the log holds %s", sentence)


def facts_of(found: UnknownEvents) -> dict[str, Any]:
    """For programs: what there is to tell, and how far it was looked."""
    facts: dict[str, Any] = {"position": found.head, "since": found.since}
    if found.types:
        facts["unknown"] = dict(found.types)
    if found.newer:
        facts["newer"] = {
            f"{name} in version {version}": count for (name, version), count in found.newer.items()
        }
    if found.unreadable:
        facts["unreadable"] = {name: one.count for name, one in found.unreadable.items()}
    if found.ignored:
        facts["ignored"] = {name: list(fields) for name, fields in found.ignored.items()}
    if found.elsewhere:
        facts["other_ids"] = dict(found.elsewhere)
    if found.problems:
        facts["error"] = f"the log holds {'; '.join(found.problems.values())}"
    return facts


def _retrieved(looking: asyncio.Task[None]) -> None:
    """What went wrong is told by health; nobody else need hear of it."""
    if not looking.cancelled() and isinstance(error := looking.exception(), RequestError):
        logger.debug("the log could not be looked at: %s", error.message)
