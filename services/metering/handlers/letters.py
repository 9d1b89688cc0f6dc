"""Setting records aside for consumers whose offsets the broker keeps: letters are committed before offsets move."""

from __future__ import annotations

from collections.abc import Sequence

from libs.bus import metrics as bus_metrics
from libs.bus.deadletters.setting_aside import set_aside
from libs.bus.ports import Bus
from libs.bus.subscription import Poison
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction


async def set_records_aside(bus: Bus, pool: Pool, consumer: str, poisons: Sequence[Poison]) -> None:
    """Send records of one topic to its dead letter topic by the outbox, and note them for whoever decides over them.

    After a crash the same record is sent once more, and noted once: by topic, partition and offset.
    """
    topic = poisons[0].record.topic
    ids = await bus.topic_ids([topic])
    if topic not in ids:
        raise Unavailable(f"topic {topic} does not exist any more")
    async with transaction(pool) as tx:
        for poison in poisons:
            await set_aside(tx, poison, consumer=consumer, topic_id=ids[topic], stamp=None)
    for poison in poisons:
        bus_metrics.DEAD_LETTERS.add(1, {"consumer": consumer, "topic": topic, "reason": poison.reason})
