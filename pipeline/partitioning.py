"""Which partition a key goes to: computed here alone, since the clients' own partitioners disagree with each other."""

from functools import lru_cache


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 of the bytes as an unsigned 32-bit number (KIP-98's `Utils.murmur2`)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for i in range(0, whole, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * m) & mask
        k = ((k ^ (k >> 24)) * m) & mask
        h = ((h * m) & mask) ^ k
    if length & 3:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * m) & mask
    h = ((h ^ (h >> 13)) * m) & mask
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key: the one Java clients would choose."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
