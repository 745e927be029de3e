"""Counting attempts that nobody has lived to see the end of.

How often a message was delivered does not say how often it was begun: it comes again also because
an instance stopped, or handed it back for a newer one. One that ends its process each time it is
begun shows in what is noted before an attempt, and taken back at its end.
"""

from contextlib import suppress

from attrs import frozen

from cim_domain.errors import RequestError, Unavailable
from cim_domain.nats.jetstream.buckets import Bucket


@frozen
class UnendedAttempts:
    """Attempts of one consumer that were begun and have not ended, in a bucket.

    The keys are ``begun.{consumer}.{sequence}``.
    """

    _bucket: Bucket
    _consumer: str

    async def count(self, sequence: int) -> tuple[int, int]:
        """How many there are of a message, and the revision of that. Raises `RequestError`."""
        value, revision = await self._bucket.newest(self._key(sequence))
        return (int(value) if value and value.isdigit() else 0), revision

    async def begin(self, sequence: int, count: int, revision: int) -> int:
        """Note one more than there were; the new revision. Raises `RequestError`."""
        noted = await self._bucket.replace(self._key(sequence), b"%d" % (count + 1), revision)
        if noted is None:
            raise Unavailable(f"somebody else is beginning with message {sequence}", code="busy")
        return noted

    async def end(self, sequence: int, revision: int) -> None:
        """Take back what was noted: this attempt has ended, and so might all before it have.

        Where that fails, one is counted that has ended.
        """
        with suppress(RequestError):
            await self._bucket.delete(self._key(sequence), revision)

    def _key(self, sequence: int) -> str:
        return f"begun.{self._consumer}.{sequence}"
