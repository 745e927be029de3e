"""The write side of a service: what carries out commands."""

from contextlib import AsyncExitStack

from attrs import define, field

from cim_domain.commands.executor import Executor
from cim_domain.observability.observer import Execute, observed
from cim_domain.service.parts.part import Context, Part
from cim_domain.service.write_side import open_executor


@define(eq=False)
class WriteSide(Part):
    """The executor, with its repository and what is kept of commands that left no event."""

    _context: Context
    executor: Executor = field(init=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def start(self) -> None:
        """See `Part.start`."""
        here = self._context
        async with AsyncExitStack() as stack:
            self.executor = await open_executor(
                stack,
                here.domain,
                here.log,
                here.link,
                here.subjects,
                here.settings,
                here.nats.replicas,
                here.clock,
            )
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """See `Part.stop`."""
        await self._stack.aclose()

    @property
    def execute(self) -> Execute:
        """Carries out a command that no request brought, and tells the observer."""
        return observed(self.executor.execute, self._context.observer)
