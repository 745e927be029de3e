"""Key-value buckets, as every NATS client knows them, for values that may be lost."""

from cim_domain.errors import Unavailable
from cim_domain.nats.client import check_size
from cim_domain.nats.jetstream import answer_of
from cim_domain.nats.link import Link
from cim_domain.nats.streams import StreamDefinition


def bucket_stream(bucket: str, replicas: int = 1) -> StreamDefinition:
    """The stream that a bucket is: the newest value of each key."""
    return StreamDefinition(
        f"KV_{bucket}",
        {
            "subjects": [f"$KV.{bucket}.>"],
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "deny_delete": True,
        },
    )


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

    async def put(self, key: str, value: bytes) -> None:
        """Replace the value of a key. Raises `Unavailable`, `Invalid` for one that is too large."""
        subject = f"$KV.{self._bucket}.{key}"
        check_size(self._link.client, subject, value)
        answer_of(subject, await self._link.requests.one(subject, value, timeout=self._timeout))
