"""What all databases of views do alike: deciding about generations, and knowing what is live."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from cim_domain.model.projection import ProjectionModel
from cim_domain.views.generations import (
    IS_LIVE,
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


class GenerationalViews(ABC):
    """A `ViewDatabase`, for adapters that keep generations, rows and transactions."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, int, str], Generation] = {}
        """The live generation of each projection, version and layout, as far as is known here."""

    async def open(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        return await self._planned(model, layouts, opening(model.version, layouts.fingerprint))

    async def stand_in(self, model: ProjectionModel) -> ViewStore | None:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        known = await self._generations(model.name)
        found = standing_in(known, model.version, layouts.fingerprint)
        return None if found is None else self._store(model, found.number, layouts)

    async def rebuild(self, model: ProjectionModel) -> ViewStore:
        """See `ViewDatabase`."""
        layouts = read_layouts(model)
        return await self._planned(model, layouts, rebuilding(model.version, layouts.fingerprint))

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
        found = self._live.get((model.name, model.version, layouts.fingerprint))
        return found is not None and found.number == number

    def is_complete(self, model: ProjectionModel, layouts: Layouts, number: int) -> bool:
        """Whether it is, and has read the log to its end once."""
        found = self._live.get((model.name, model.version, layouts.fingerprint))
        return found is not None and found.number == number and found.state is State.LIVE

    async def _planned(self, model: ProjectionModel, layouts: Layouts, decide: Decide) -> ViewStore:
        plan = await self._change(model, layouts, decide)
        assert plan is not None  # noqa: S101 - only a switch may come to nothing
        self._note(model.name, plan)
        return self._store(model, plan.found.number, layouts)

    def _note(self, name: str, plan: Plan | None) -> None:
        for known in (*plan.changed, plan.found) if plan is not None else ():
            code = name, known.version, known.layout
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
