"""Saying something: a row in the transaction of the effect. The relay makes it an event; nothing is said otherwise."""

from __future__ import annotations

from typing import Final

from libs.bus.envelope import event_headers, event_value
from libs.bus.records import Headers, Record
from libs.runtime.tracing import TRACEPARENT, current_traceparent
from libs.schemas import topics
from libs.schemas.events import EventModel
from libs.store.pool import Tx

CHANNEL: Final = "maestro_outbox"
REASON: Final = "maestro_reason"
CONSUMER: Final = "maestro_consumer"
ORIGIN_TOPIC: Final = "maestro_topic"
ORIGIN_PARTITION: Final = "maestro_partition"
ORIGIN_OFFSET: Final = "maestro_offset"
MAX_REASON_CHARS: Final = 1000  # enough to find the field that is wrong; never a copy of the record


async def say(tx: Tx, topic: str, event: EventModel, *, key: str) -> None:
    """Say `event` on `topic` if and only if `tx` commits, in order with everything else said under `key`.

    The current trace goes along. Raises Broken for a topic or type outside the registry, or an event over its bound.
    """
    headers = event_headers(topic, event, key=key)
    await _insert(tx, topic, key.encode("utf-8"), event_value(topic, event), headers, stamped=True)


async def say_dead(tx: Tx, record: Record, *, consumer: str, reason: str) -> None:
    """Set `record` aside on its dead letter topic, as it came, with where it lay and why it could not be taken."""
    own = {
        REASON: reason.replace("\x00", "\\0")[:MAX_REASON_CHARS],
        CONSUMER: consumer,
        ORIGIN_TOPIC: record.topic,
        ORIGIN_PARTITION: str(record.partition),
        ORIGIN_OFFSET: str(record.offset),
    }
    headers = [*record.headers, *((name, text.encode("utf-8")) for name, text in own.items())]
    traceparent = current_traceparent()
    if traceparent is not None and record.header(TRACEPARENT) is None:
        headers.append((TRACEPARENT, traceparent.encode("ascii")))
    target = record.topic + topics.DEAD_LETTER_SUFFIX
    await _insert(tx, target, record.key, record.value, tuple(headers), stamped=False)


async def _insert(
    tx: Tx, topic: str, key: bytes | None, value: bytes | None, headers: Headers, *, stamped: bool
) -> None:
    names, values = [name.encode("utf-8") for name, _ in headers], [content for _, content in headers]
    size = len(key or b"") + len(value or b"") + sum(map(len, values))
    await tx.execute(_SAY, topic, key, value, names, values, stamped, size, CHANNEL)


# One statement, one round trip: the row, and a wake-up for the relay that is sent if and only if we commit.
_SAY: Final = """
WITH said AS (
  INSERT INTO outbox (topic, key, value, header_names, header_values, stamped, size_bytes)
  VALUES ($1, $2, $3, $4, $5, $6, $7))
SELECT pg_notify($8, '')
"""
