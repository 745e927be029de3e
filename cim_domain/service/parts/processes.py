"""The processes of a service: what reacts to events."""

from collections.abc import Mapping

from attrs import define, field

from cim_domain.endpoints.replay_by_kind import ProcessReplay
from cim_domain.endpoints.replay_routing import Replay
from cim_domain.observability.health import HealthCheck
from cim_domain.processes.runner import ProcessRunner
from cim_domain.service.parts.part import Context, Part
from cim_domain.service.parts.write_side import WriteSide


@define(eq=False)
class Processes(Part):
    """A runner for each process; their commands go to the write side."""

    _context: Context
    _write_side: WriteSide
    _runners: dict[str, ProcessRunner] = field(factory=dict, init=False)

    async def start(self) -> None:
        """See `Part.start`."""
        here = self._context
        runners: dict[str, ProcessRunner] = {}
        try:
            for name, model in here.domain.processes.items():
                runner = ProcessRunner(
                    here.domain,
                    model,
                    here.link,
                    here.subjects,
                    self._write_side.execute,
                    here.dead_letters,
                    here.retries,
                    here.log.identity,
                    here.observer.rejection,
                    here.clock,
                )
                await runner.ensure()
                runners[name] = runner
            # A command of the first may lead to an event that is new to older code of another.
            for name, runner in runners.items():
                await runner.start()
                self._runners[name] = runner
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See `Part.stop`."""
        for runner in self._runners.values():
            await runner.stop()

    def checks(self) -> Mapping[str, HealthCheck]:
        """See `Part.checks`."""
        allowed = self._context.settings.lag_allowed
        return {f"process.{name}": one.look(allowed) for name, one in self._runners.items()}

    def replays(self) -> Mapping[str, Replay]:
        """See `Part.replays`."""
        here = self._context
        return {
            f"process.{name}": ProcessReplay(here.link, here.subjects, one)
            for name, one in self._runners.items()
        }
