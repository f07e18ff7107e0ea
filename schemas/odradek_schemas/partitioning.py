"""Which partition a key belongs to: Kafka's murmur2, the Java clients' default."""

from __future__ import annotations

from functools import lru_cache

_MASK, _M, _SEED = 0xFFFFFFFF, 0x5BD1E995, 0x9747B28C


def murmur2(key: bytes) -> int:
    """32-bit murmur2 of `key`, unsigned, as `org.apache.kafka.common.utils.Utils.murmur2` computes it."""
    length = len(key)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = (int.from_bytes(key[i : i + 4], "little") * _M) & _MASK
        k ^= k >> 24
        h = ((h * _M) & _MASK) ^ ((k * _M) & _MASK)
    if whole < length:
        h = ((h ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
