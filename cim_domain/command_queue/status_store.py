"""Where it is kept how stored commands stand: a bucket, for some days, by id and organization."""

from attrs import frozen

from cim_domain.errors import Unavailable
from cim_domain.nats.jetstream.buckets import Bucket
from cim_domain.wire.command_status import CommandStatus, status_key

_ATTEMPTS = 5


@frozen
class StatusStore:
    """How commands stand, by the id of the command and the organization that it is of."""

    bucket: Bucket

    async def get(self, command_id: str, organization_id: str | None) -> CommandStatus | None:
        """How a command stands, if that is known. Raises `Unavailable` and `ApiError`."""
        data = await self.bucket.get_newest(status_key(command_id, organization_id))
        return None if data is None else CommandStatus.from_wire(data)

    async def put(self, standing: CommandStatus, organization_id: str | None) -> None:
        """Keep how a command stands now. Raises `Unavailable` and `ApiError`."""
        key = status_key(standing.command_id, organization_id)
        await self.bucket.put(key, standing.to_wire())

    async def put_failure(self, standing: CommandStatus, organization_id: str | None) -> None:
        """Keep how a command stands after an attempt that failed, unless it is settled by now.

        An attempt may fail long after the command was given to another instance, which has done it.
        Raises `Unavailable` and `ApiError`.
        """
        key = status_key(standing.command_id, organization_id)
        for _ in range(_ATTEMPTS):
            data, revision = await self.bucket.newest(key)
            if data is not None and CommandStatus.from_wire(data).final:
                return
            if await self.bucket.replace(key, standing.to_wire(), revision):
                return
        raise Unavailable("others keep writing how the command stands")

    async def begin(self, standing: CommandStatus, organization_id: str | None) -> bool:
        """Keep how a command stands, if nothing is known of it; whether that was so.

        Of several that begin at a time one succeeds. Raises `Unavailable` and `ApiError`.
        """
        key = status_key(standing.command_id, organization_id)
        return await self.bucket.create(key, standing.to_wire())
