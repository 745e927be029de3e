"""What all databases of views do alike: deciding about generations, and knowing what is live."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from cim_domain.model.projection import ProjectionModel
from cim_domain.views.generations import (
    IS_LIVE,
    Code,
    Decide,
    Generation,
    Plan,
    State,
    abandoning,
    opening,
    rebuilding,
    standing_in,
    switching,
)
from cim_domain.views.layout import Layouts, read_layouts
from cim_domain.views.port import ViewStore

logger = logging.getLogger("cim_domain.projections")


class GenerationalViews(ABC):
    """A `ViewDatabase`, for adapters that keep generations, rows and transactions."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, Code], Generation] = {}
        """The live generation of each projection and code, as far as is known here."""

    async def open(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        return await self._planned(model, layouts, opening(layouts.code))

    async def handled(self, model: ProjectionModel) -> frozenset[str]:
        """See `ViewDatabase`."""
        known = await self._generations(model.name)
        return frozenset(name for one in known for name in one.code.handles)

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        known = await self._generations(model.name)
        found = standing_in(known, layouts.code)
        return None if found is None else self._store(model, found.number, layouts)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        return await self._planned(model, layouts, rebuilding(layouts.code))

    async def switch(self, rebuilt: ViewStore) -> bool:
        """See `ViewDatabase`. Raises `Superseded` and `Unavailable`."""
        model, number = rebuilt.model, rebuilt.generation
        layouts = read_layouts(model)
        decide = switching(model.name, number)
        if not rebuilt.live:
            if decide(await self._generations(model.name)) is None:
                return False
            await self._fill(model, number, layouts)
        plan = await self._change(model, layouts, decide)
        self._note(model.name, plan)
        return plan is not None

    async def abandon(self, views: ViewStore) -> None:
        """See `ViewDatabase`."""
        layouts = read_layouts(views.model)
        plan = await self._change(views.model, layouts, abandoning(views.generation))
        self._note(views.model.name, plan)

    def is_live(self, model: ProjectionModel, layouts: Layouts, number: int) -> bool:
        """Whether a generation is its version's live one."""
        found = self._live.get((model.name, layouts.code))
        return found is not None and found.number == number

    def is_complete(self, model: ProjectionModel, layouts: Layouts, number: int) -> bool:
        """Whether it is, and has read the log to its end once."""
        found = self._live.get((model.name, layouts.code))
        return found is not None and found.number == number and found.state is State.LIVE

    async def _planned(self, model: ProjectionModel, layouts: Layouts, decide: Decide) -> ViewStore:
        plan = await self._change(model, layouts, decide)
        assert plan is not None  # noqa: S101 - only a switch may come to nothing
        self._note(model.name, plan)
        if plan.beside is not None:
            _tell(model, plan.beside.code, layouts.code)
        return self._store(model, plan.found.number, layouts)

    def _note(self, name: str, plan: Plan | None) -> None:
        for known in (*plan.changed, plan.found) if plan is not None else ():
            code = name, known.code
            if known.state in IS_LIVE:
                self._live[code] = known
            elif code in self._live and self._live[code].number == known.number:
                del self._live[code]

    @abstractmethod
    async def _change(
        self, model: ProjectionModel, layouts: Layouts, decide: Decide
    ) -> Plan | None:
        """Carry out what `decide` makes of the generations, in one transaction with reading them.

        The tables of a dropped one go, and those of a new one are made.
        """

    @abstractmethod
    async def _generations(self, name: str) -> Sequence[Generation]:
        """The generations of a projection."""

    @abstractmethod
    async def _fill(self, model: ProjectionModel, number: int, layouts: Layouts) -> None:
        """Do what remains to be done to a generation before it becomes live."""

    @abstractmethod
    def _store(self, model: ProjectionModel, number: int, layouts: Layouts) -> ViewStore:
        """A generation to read and write."""


def _tell(model: ProjectionModel, before: Code, now: Code) -> None:
    """Say why views are built anew though nobody has raised their version."""
    more = sorted({*now.handles} - {*before.handles})
    less = sorted({*before.handles} - {*now.handles})
    changed = [f"handles {', '.join(more)} now"] if more else []
    changed += [f"no longer handles {', '.join(less)}"] if less else []
    changed += ["has views of other fields"] if before.layout != now.layout else []
    logger.warning(
        "projection %s %s, unlike the code that has made the views there are: they are built anew",
        model.name,
        " and ".join(changed),
    )
