"""Where it is kept how stored commands stand: a bucket, for some days, by id and organization."""

from collections.abc import Callable

from attrs import frozen

from cim_domain.errors import Unavailable
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.store.lost_past import has_basis
from cim_domain.store.port import EventStore
from cim_domain.wire.command_status import CommandStatus, read_status, status_key

_ATTEMPTS = 5


@frozen
class StatusStore:
    """How commands stand, by the id of the command and the organization that it is of.

    An entry that cannot be read is none; nor is what came of a command by events that `log` lacks.
    All raise `Unavailable` and `ApiError`.
    """

    bucket: Bucket
    _log: EventStore | None = None

    async def get(self, command_id: str, organization_id: str | None) -> CommandStatus | None:
        """How a command stands, if that is known."""
        return await self._read(
            await self.bucket.get_newest(status_key(command_id, organization_id))
        )

    async def put(self, standing: CommandStatus, organization_id: str | None) -> None:
        """Keep how a command stands now."""
        key = status_key(standing.command_id, organization_id)
        await self.bucket.put(key, standing.to_wire())

    async def put_unless_settled(
        self, standing: CommandStatus, organization_id: str | None
    ) -> None:
        """Keep how a command stands after an attempt that failed, unless it is settled by now.

        An attempt may fail long after the command was given to another instance, which has done it.
        """
        await self._put_over(
            standing, organization_id, lambda known: known is None or not known.final
        )

    async def begin(self, standing: CommandStatus, organization_id: str | None) -> bool:
        """Keep how a command stands, if nothing is known of it; whether that was so.

        Of several that begin at a time one succeeds.
        """
        return await self._put_over(standing, organization_id, lambda known: known is None)

    async def _put_over(
        self,
        standing: CommandStatus,
        organization_id: str | None,
        may_replace: Callable[[CommandStatus | None], bool],
    ) -> bool:
        key = status_key(standing.command_id, organization_id)
        known, revision = None, 0
        for _ in range(_ATTEMPTS):
            if not may_replace(known):
                return False
            if await self.bucket.replace(key, standing.to_wire(), revision):
                return True
            data, revision = await self.bucket.newest(key)
            known = await self._read(data)
        raise Unavailable("others keep writing how the command stands")

    async def _read(self, data: bytes | None) -> CommandStatus | None:
        found = read_status(data)
        if found is None or self._log is None or found.basis is None:
            return found
        return found if await has_basis(self._log, found.basis) else None
