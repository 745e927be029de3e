"""The read side of a service: its views, and a runner for each projection."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from attrs import define, field

from cim_domain.endpoints.replay_by_kind import ProjectionReplay
from cim_domain.endpoints.replay_routing import Replay
from cim_domain.observability.health import HealthCheck, look_at_projection
from cim_domain.projections.runner import ProjectionRunner
from cim_domain.service.parts.part import Context, Part
from cim_domain.store.shared_subscription import SharedSubscription
from cim_domain.views.port import ViewDatabase


@define(eq=False)
class Projections(Part):
    """Keeps the views up to the log. All projections share one reading of it."""

    _context: Context
    runners: dict[str, ProjectionRunner] = field(init=False)
    _database: ViewDatabase = field(init=False)
    _builders: dict[str, ProjectionReplay] = field(init=False)

    def __attrs_post_init__(self) -> None:
        here = self._context
        self._database = here.adapters.views(
            here.settings, here.nats, here.domain, here.log_identity
        )
        tail = SharedSubscription(here.log)
        self.runners = {
            name: ProjectionRunner(
                here.domain,
                model,
                tail,
                self._database,
                here.dead_letters,
                here.subjects,
                here.settings.on_poison,
                here.observer.projection,
            )
            for name, model in here.domain.projections.items()
        }
        self._builders = {
            name: ProjectionReplay(
                here.domain,
                here.domain.projections[name],
                runner,
                here.log,
                self._database,
                here.dead_letters,
                here.subjects,
                here.settings.on_poison,
            )
            for name, runner in self.runners.items()
        }

    async def start(self) -> None:
        """See `Part.start`."""
        started: list[ProjectionRunner] = []
        try:
            for runner in self.runners.values():
                await runner.open()
                started.append(runner)
                runner.start()
        except BaseException:
            await self._end(started)
            raise

    async def stop(self) -> None:
        """See `Part.stop`."""
        await self._end(self.runners.values())

    def missing(self) -> str | None:
        """Which views cannot be read yet, because they are being built; None: all can."""
        building = sorted(name for name, one in self.runners.items() if not one.readable)
        return f"the views of {', '.join(building)} are being built" if building else None

    def give_up_building(self) -> None:
        """End the building of views that somebody waits for: it may take long."""
        for builder in self._builders.values():
            builder.close()

    def checks(self) -> Mapping[str, HealthCheck]:
        """See `Part.checks`."""
        here = self._context
        return {
            f"projection.{name}": look_at_projection(
                partial(getattr, runner, "status"), here.log.head, here.settings.lag_allowed
            )
            for name, runner in self.runners.items()
        }

    def replays(self) -> Mapping[str, Replay]:
        """See `Part.replays`."""
        return {f"projection.{name}": builder for name, builder in self._builders.items()}

    async def _end(self, runners: Iterable[ProjectionRunner]) -> None:
        try:
            # Side by side: each may wait for views that do not answer.
            await asyncio.gather(*(runner.stop() for runner in runners))
        finally:
            await self._database.close()
