"""Which partition an area's records go to, the same everywhere and in every Kafka client."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["partition_of", "partition_of_key"]

_MASK = 0xFFFFFFFF


def _murmur2(data: bytes) -> int:
    """32-bit MurmurHash2 with the seed Apache Kafka's default partitioner uses."""
    m, seed = 0x5BD1E995, 0x9747B28C
    length = len(data)
    h = seed ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & _MASK
        k ^= k >> 24
        k = (k * m) & _MASK
        h = ((h * m) & _MASK) ^ k
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * m) & _MASK
    h ^= h >> 13
    h = (h * m) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=1 << 16)
def partition_of(area: str, partitions: int) -> int:
    """Return the partition of ``area``: murmur2 as Kafka's default partitioner for that key."""
    return partition_of_key(area.encode(), partitions)


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives a key."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions
