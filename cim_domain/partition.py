"""Which partition of the log an aggregate is in: the hash that nats-server uses itself.

The partition of an aggregate is FNV-1a (32 bits) over its name and id, joined without a separator,
modulo the number of partitions: the server's ``{{partition(N,1,2)}}`` over the two tokens. So
mappings and copies that a server makes agree with what the kit writes.
"""

from functools import lru_cache

PARTITIONS = 16
"""How many partitions a log has, unless it was made with another number. It never changes."""

LARGEST_NUMBER = 4096
"""No log has more partitions: each filtered reader of one costs a pass over the whole log."""

_OFFSET = 2166136261
_PRIME = 16777619


_BITS = 0xFFFFFFFF


def fnv1a(data: bytes, bits: int = _BITS) -> int:
    """The FNV-1a hash of some bytes: of its 32 bits those in `bits`, which are the lowest ones."""
    # These depend on no higher ones, and small numbers take half the time.
    digest, prime = _OFFSET & bits, _PRIME & bits
    for byte in data:
        digest = ((digest ^ byte) * prime) & bits
    return digest


@lru_cache(maxsize=4096)
def partition_of(aggregate: str, aggregate_id: str, partitions: int) -> int:
    """The partition of an aggregate, from 0 to `partitions` - 1."""
    bits = _BITS if partitions & (partitions - 1) else partitions - 1
    return fnv1a(f"{aggregate}{aggregate_id}".encode(), bits) % partitions
