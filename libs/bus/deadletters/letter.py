"""A dead letter as it lies on `<topic>-dlq`: the record byte for byte, and behind its headers ours: what failed.

A record that is larger than its topic allows (a producer's compression can hide that), or that could not be read whole,
stays where it lies: its letter carries no bytes of it, and names topic, partition, offset and digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from libs.bus.records import MAX_HEADERS, Headers, Record
from libs.bus.subscription import Poison
from libs.runtime.tracing import TRACEPARENT, trace_id_of
from libs.schemas import topics
from libs.signing.digests import sha256_hex

REASON: Final = "maestro_reason"
CAUSE: Final = "maestro_cause"
CONSUMER: Final = "maestro_consumer"
TOPIC: Final = "maestro_topic"
PARTITION: Final = "maestro_partition"
OFFSET: Final = "maestro_offset"
TRACE_ID: Final = "maestro_trace_id"
DIGEST: Final = "maestro_digest"
SIZE: Final = "maestro_size"
PAYLOAD: Final = "maestro_payload"
OWN: Final = (
    CONSUMER,
    TOPIC,
    PARTITION,
    OFFSET,
    REASON,
    CAUSE,
    TRACE_ID,
    DIGEST,
    SIZE,
    PAYLOAD,
)  # always all, in order
INLINE: Final = "inline"
BY_REFERENCE: Final = "reference"

MAX_CAUSE_CHARS: Final = 1000  # enough to find the field that is wrong; never a copy of the record
LENGTH_BYTES: Final = 4
HEADER_BYTES: Final = 2 * LENGTH_BYTES  # the lengths of its name and value; Kafka writes two to ten
NO_VALUE: Final = b"\xff" * LENGTH_BYTES  # Kafka's own length for what is null


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, before it is written: the record, who could not take it and why, and its digest."""

    record: Record
    consumer: str
    reason: str
    cause: str
    trace_id: str | None
    digest: str
    size_bytes: int
    by_reference: bool

    def message(self) -> tuple[bytes | None, bytes | None, Headers]:
        """Return key, value and headers as they go to the dead letter topic."""
        record = self.record
        told = (
            self.consumer,
            record.topic,
            str(record.partition),
            str(record.offset),
            self.reason,
            self.cause,
            self.trace_id or "",
            self.digest,
            str(self.size_bytes),
            BY_REFERENCE if self.by_reference else INLINE,
        )
        own = tuple((name, text.encode("utf-8")) for name, text in zip(OWN, told, strict=True))
        return (None, None, own) if self.by_reference else (record.key, record.value, record.headers + own)


def letter_of(poison: Poison, consumer: str) -> Letter:
    """Return the letter of what `consumer` could not take."""
    record = poison.record
    size = size_of(record)
    traceparent = (record.header(TRACEPARENT) or b"").decode("ascii", "replace")
    return Letter(
        record,
        consumer,
        poison.reason,
        _storable(poison.cause)[:MAX_CAUSE_CHARS],
        trace_id_of(traceparent),
        digest_of(record),
        size,
        by_reference=record.unread is not None
        or len(record.headers) + len(OWN) > MAX_HEADERS
        or size > topics.topic(record.topic).max_record_bytes,
    )


def original_of(dead: Record, *, offset: int, partition: int) -> Record:
    """Return the record as it came, out of the inline letter `dead`: our headers are the last, and are taken off."""
    headers = dead.headers[: -len(OWN)]
    topic = dead.topic.removesuffix(topics.DEAD_LETTER_SUFFIX)
    return Record(topic, partition, offset, dead.key, dead.value, headers, dead.appended_at_ms)


def own_headers(dead: Record) -> dict[str, str] | None:
    """Return what our headers on `dead` say, None where it was not written by us."""
    own = dead.headers[-len(OWN) :]
    if tuple(name for name, _ in own) != OWN:
        return None
    return {name: (value or b"").decode("utf-8", "replace") for name, value in own}


def size_of(record: Record) -> int:
    """Return how many bytes of key, value and headers `record` has, with what each header costs beside its text."""
    return sum(len(part or b"") for part in _parts(record)) + HEADER_BYTES * len(record.headers)


def digest_of(record: Record) -> str:
    """Return the SHA-256, in hex, of everything a producer gave: key, value and headers, each behind its length."""
    framed = (NO_VALUE if part is None else len(part).to_bytes(LENGTH_BYTES, "big") + part for part in _parts(record))
    return sha256_hex(b"".join(framed))


def _storable(text: str) -> str:
    """Return `text` as any store and header takes it: no NUL, no lone surrogate."""
    return text.replace("\x00", "\\0").encode("utf-8", "replace").decode("utf-8")


def _parts(record: Record) -> Iterable[bytes | None]:
    yield from (record.key, record.value)
    for name, value in record.headers:
        yield from (name.encode("utf-8"), value)
