"""Which events are one event: the key, the digest of the body, the shard.

Both hashes are BLAKE2b keyed with a secret of the installation (docs/decisions/0002-metering-exactness.md): a sender
who does not know the secret cannot search for two ids that collide.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from services.metering.domain.events import Attributes, Kind

SECRET_BYTES: Final = 32
KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 8
SHARDS: Final = 256  # fixed for good: the shard is the first byte of the key

# Sorting the attributes makes the digest the same whatever order a sender writes them in.
_BODY: Final = msgspec.msgpack.Encoder(order="deterministic")


class Fingerprints:
    """Makes keys and digests with the secret of this installation."""

    def __init__(self, secret: bytes) -> None:
        """Take the secret, SECRET_BYTES long."""
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the fingerprint secret has {SECRET_BYTES} bytes")
        self._keys = hashlib.blake2b(digest_size=KEY_BYTES, key=secret, person=b"maestro.event.id")
        self._bodies = hashlib.blake2b(digest_size=DIGEST_BYTES, key=secret, person=b"maestro.event.bd")

    def key(self, tenant_id: str, source: str, event_id: str) -> bytes:
        """Return the 128-bit key of (tenant, source, id); lengths are part of it, so no two triples write alike."""
        hasher = self._keys.copy()
        for part in (tenant_id.encode(), source.encode(), event_id.encode()):
            hasher.update(len(part).to_bytes(4, "big") + part)
        return hasher.digest()

    def body(self, event_type: str, kind: Kind, time_us: int | None, attributes: Attributes) -> int:
        """Return the 64-bit digest of a body, as a signed number; `time_us` is None where the edge stamped the time."""
        hasher = self._bodies.copy()
        hasher.update(_BODY.encode((event_type, int(kind), time_us, attributes)))
        return int.from_bytes(hasher.digest(), "big", signed=True)


def shard_of(key: bytes) -> int:
    """Return the shard of a key, 0 to SHARDS - 1."""
    return key[0]


def partition_of(shard: int, partitions: int) -> int:
    """Return the partition that holds `shard`: neighbouring shards share one, each partition holds a range."""
    return shard * partitions // SHARDS


def first_shard_of(partition: int, partitions: int) -> int:
    """Return the lowest shard of `partition`."""
    return -(-partition * SHARDS // partitions)
