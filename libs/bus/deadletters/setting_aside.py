"""What a consumer does about dead letters, where it moves its offset: write them, and take what is replayed.

A replayed event of ours carries its old place (epoch, seq), which its consumer has passed. That consumer, and no other,
finds here that it set just this event aside and that a person had it replayed; it takes it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from libs.bus.deadletters.letter import letter_of
from libs.bus.outbox import put
from libs.bus.sequences import Stamp
from libs.bus.subscription import Poison
from libs.schemas import topics
from libs.store.pool import Tx


async def set_aside(tx: Tx, poison: Poison, *, consumer: str, topic_id: UUID, stamp: Stamp | None) -> None:
    """Send the record to its dead letter topic and note it, if and only if `tx` commits."""
    letter = letter_of(poison, consumer)
    record = poison.record
    key, value, headers = letter.message()
    await put(tx, record.topic + topics.DEAD_LETTER_SUFFIX, key, value, headers, stamped=False)
    await tx.execute(
        _NOTE,
        consumer,
        record.topic,
        topic_id,
        record.partition,
        record.offset,
        letter.reason,
        letter.cause,
        letter.trace_id,
        letter.digest,
        letter.size_bytes,
        letter.by_reference,
        record.appended_at_ms,
        stamp.lane.producer if stamp else None,
        stamp.lane.key if stamp else None,
        *(stamp.at if stamp else (None, None)),
    )


async def take_replayed(tx: Tx, consumer: str, stale: Mapping[int, Stamp]) -> set[int]:
    """Return which of these passed places (by index) belong to a letter of `consumer` that was replayed: once each."""
    order = sorted(stale)
    lanes = [stale[index].lane for index in order]
    places = [stale[index].at for index in order]
    rows = await tx.fetch(
        _TAKE,
        consumer,
        order,
        [lane.producer for lane in lanes],
        [lane.topic for lane in lanes],
        [lane.partition for lane in lanes],
        [lane.key for lane in lanes],
        [place[0] for place in places],
        [place[1] for place in places],
    )
    return {row["index"] for row in rows}


# A record that an operator has handled again (reset-offset) and that fails again waits again.
_NOTE: Final = """
INSERT INTO dead_letter (consumer, topic, topic_id, partition, record_offset, reason, cause, trace_id, digest,
  size_bytes, by_reference, appended_at, producer, lane_key, epoch, seq)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, to_timestamp($12::bigint / 1000.0), $13, $14, $15, $16)
ON CONFLICT (consumer, topic_id, partition, record_offset) DO UPDATE
SET state = 'waiting', reason = excluded.reason, cause = excluded.cause, dead_at = now(), taken_at = NULL
"""
_TAKE: Final = """
UPDATE dead_letter AS letter SET taken_at = now()
FROM (SELECT DISTINCT ON (producer, topic, partition, lane_key, epoch, seq) * FROM
      unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::bytea[], $7::bigint[], $8::bigint[])
        AS one (index, producer, topic, partition, lane_key, epoch, seq)
      ORDER BY producer, topic, partition, lane_key, epoch, seq, index) AS stale
WHERE letter.consumer = $1 AND letter.state IN ('replaying', 'replayed') AND letter.taken_at IS NULL
  AND (letter.producer, letter.topic, letter.partition, letter.lane_key, letter.epoch, letter.seq)
    = (stale.producer, stale.topic, stale.partition, stale.lane_key, stale.epoch, stale.seq)
RETURNING stale.index
"""
