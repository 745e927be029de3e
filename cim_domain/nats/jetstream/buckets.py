"""Key-value buckets, as every NATS client knows them: the newest value of each key."""

from typing import Any

from cim_domain.errors import Unavailable
from cim_domain.nats.connection.connect import check_size
from cim_domain.nats.connection.link import Link
from cim_domain.nats.jetstream.api import NANOSECONDS, WRONG_LAST_SEQUENCE, ApiError, answer_of
from cim_domain.nats.jetstream.leader_reads import newest_on
from cim_domain.nats.jetstream.streams import StreamDefinition


def bucket_stream(
    bucket: str,
    replicas: int = 1,
    *,
    kept: float | None = None,
    most: int | None = None,
    announced: str | None = None,
) -> StreamDefinition:
    """The stream that a bucket is.

    Values are `kept` for so many seconds after they were written; None: for ever. There are `most`
    of them, and the oldest go first; None: any number. Each one that is stored is made known on
    ``{announced}.{key}``, without the value itself.
    """
    subjects = f"$KV.{bucket}.>"
    config: dict[str, Any] = {
        "subjects": [subjects],
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
    }
    if kept is not None:
        config["max_age"] = int(kept * NANOSECONDS)
    if most is not None:
        config |= {"max_msgs": most, "discard": "old"}
    if announced is not None:
        config["republish"] = {"src": subjects, "dest": f"{announced}.>", "headers_only": True}
    return StreamDefinition(f"KV_{bucket}", config)


class Bucket:
    """A bucket that exists. Keys are subject tokens joined by dots."""

    def __init__(self, link: Link, bucket: str, timeout: float = 2.0) -> None:
        self._link = link
        self._bucket = bucket
        self._timeout = timeout

    async def get(self, key: str) -> bytes | None:
        """The newest value of a key, or a little older one from a replica that is behind.

        Raises `Unavailable`.
        """
        subject = f"$JS.API.DIRECT.GET.KV_{self._bucket}.$KV.{self._bucket}.{key}"
        reply = await self._link.requests.one(subject, timeout=self._timeout)
        status = (reply.headers or {}).get("Status")
        if status == "404" or (reply.headers or {}).get("KV-Operation"):
            return None
        if status is not None:
            raise Unavailable(f"the bucket {self._bucket} could not be read: {status}")
        return reply.data

    async def get_newest(self, key: str) -> bytes | None:
        """The newest value of a key, as the leader knows it. Raises `ApiError` and `NoAnswer`."""
        return (await self.newest(key))[0]

    async def newest(self, key: str) -> tuple[bytes | None, int]:
        """The same with its revision, see `replace`; 0 where the key never had a value."""
        subject = f"$KV.{self._bucket}.{key}"
        found = await newest_on(self._link.requests, f"KV_{self._bucket}", subject)
        if found is None:
            return None, 0
        return None if "KV-Operation" in found.headers else found.data, found.sequence

    async def put(self, key: str, value: bytes) -> None:
        """Replace the value of a key. Raises `Unavailable`, `Invalid` for one that is too large."""
        await self._write(key, value, {})

    async def replace(self, key: str, value: bytes, revision: int) -> int | None:
        """Replace the value that has a revision; the new one's, or None where it is not the newest
        any more. Raises as `put` does.
        """
        return await self._write_over(key, value, revision, {})

    async def delete(self, key: str, revision: int) -> bool:
        """Have a key have no value any more; whether it was the newest revision. Raises as
        `put` does.
        """
        deleted = await self._write_over(key, b"", revision, {"KV-Operation": "DEL"})
        return deleted is not None

    async def _write_over(
        self, key: str, value: bytes, revision: int, headers: dict[str, str]
    ) -> int | None:
        headers = {**headers, "Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            return await self._write(key, value, headers)
        except ApiError as error:
            if error.error_code not in WRONG_LAST_SEQUENCE:
                raise
            return None

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        subject = f"$KV.{self._bucket}.{key}"
        check_size(self._link.client, subject, value, headers or None)
        reply = await self._link.requests.one(
            subject, value, headers=headers, timeout=self._timeout
        )
        return int(answer_of(subject, reply)["seq"])
