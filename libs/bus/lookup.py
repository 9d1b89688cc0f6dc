"""Looking into a topic without consuming it: one record by its offset, or all that it holds now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from libs.bus.ports import Bus, OutOfRange
from libs.bus.records import Record, TopicPartition
from libs.runtime.errors import Unavailable

LOOK_S: Final = 10.0  # for one record, a connection included; a broker that answers at all does it in milliseconds


async def record_at(bus: Bus, source: TopicPartition, offset: int) -> Record | None:
    """Return the record at `offset`, None where the log does not hold it (any more); raise Unavailable."""
    ends = await bus.end_offsets(source.topic)
    if not 0 <= offset < ends.get(source.partition, 0):
        return None
    try:
        async with (
            asyncio.timeout(LOOK_S),
            aclosing(_read(bus, source.topic, {**ends, source.partition: offset})) as got,
        ):
            async for record in got:
                return record if (record.source, record.offset) == (source, offset) else None
    except OutOfRange:
        return None
    except TimeoutError as error:
        raise Unavailable(f"looking for {source} at {offset} took longer than {LOOK_S:g} s") from error
    return None


async def records_of(bus: Bus, topic: str) -> AsyncGenerator[Record, None]:
    """Yield every record that `topic` holds now, partition by partition in order; raise Unavailable."""
    async with aclosing(_read(bus, topic, dict(await bus.start_offsets(topic)))) as got:
        async for record in got:
            yield record


async def _read(bus: Bus, topic: str, positions: dict[int, int]) -> AsyncGenerator[Record, None]:
    """Yield what lies between `positions` and the ends as they are now."""
    reader = bus.reader(topic)
    try:
        ends = await reader.start(positions)
        while any(positions.get(number, 0) < end for number, end in ends.items()):
            got = await reader.poll()
            for record in got.records:
                if record.offset < ends[record.partition]:
                    yield record
            positions |= {source.partition: offset for source, offset in got.positions.items()}
    finally:
        await reader.stop()
