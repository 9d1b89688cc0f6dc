"""Which partition a key belongs to: Kafka's default partitioner, so that every client agrees.

Source: org.apache.kafka.clients.producer.internals.BuiltInPartitioner (murmur2, sign bit cleared).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

_SIGN_CLEARED: Final = 0x7FFFFFFF
_REMEMBERED_KEYS: Final = 65_536  # the hash is pure Python: some thousand tenants' keys recur all day


@lru_cache(maxsize=_REMEMBERED_KEYS)
def partition_of(key: bytes | None, partitions: int) -> int:
    """Return the partition, 0 to `partitions` - 1, of `key`; without a key the first one."""
    return 0 if key is None else (int(murmur2(key)) & _SIGN_CLEARED) % partitions
