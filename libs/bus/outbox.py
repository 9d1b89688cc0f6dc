"""Saying something: a row in the transaction of the effect. The relay makes it an event; nothing is said otherwise."""

from __future__ import annotations

from typing import Final

from libs.bus.envelope import event_headers, event_value
from libs.bus.records import Headers
from libs.schemas.events import EventModel
from libs.store.pool import Tx

CHANNEL: Final = "maestro_outbox"


async def say(tx: Tx, topic: str, event: EventModel, *, key: str) -> None:
    """Say `event` on `topic` if and only if `tx` commits, in order with everything else said under `key`.

    The current trace goes along. Raises Broken for a topic or type outside the registry, or an event over its bound.
    """
    headers = event_headers(topic, event, key=key)
    await put(tx, topic, key.encode("utf-8"), event_value(topic, event), headers, stamped=True)


async def put(tx: Tx, topic: str, key: bytes | None, value: bytes | None, headers: Headers, *, stamped: bool) -> None:
    """Have the relay publish this record as it is if and only if `tx` commits; `stamped` adds id, time and sequence."""
    names, values = [name.encode("utf-8") for name, _ in headers], [content for _, content in headers]
    size = len(key or b"") + len(value or b"") + sum(len(content or b"") for content in values)
    await tx.execute(_SAY, topic, key, value, names, values, stamped, size, CHANNEL)


# One statement, one round trip: the row, and a wake-up for the relay that is sent if and only if we commit.
_SAY: Final = """
WITH said AS (
  INSERT INTO outbox (topic, key, value, header_names, header_values, stamped, size_bytes)
  VALUES ($1, $2, $3, $4, $5, $6, $7))
SELECT pg_notify($8, '')
"""
