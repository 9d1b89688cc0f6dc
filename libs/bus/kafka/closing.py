"""Putting aiokafka's clients away, also in the middle of an outage."""

from __future__ import annotations

import asyncio
from typing import Final

from libs.bus.kafka.untyped import FromAiokafka

STOP_TIMEOUT_S: Final = 5.0


async def put_away(consumer: FromAiokafka) -> None:
    """Stop `consumer` within a bounded time, whatever it says about it.

    While the broker is gone its fetcher ends by raising CancelledError into us, and leaves its connections open.
    """
    stopping = asyncio.create_task(consumer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=STOP_TIMEOUT_S)
    if not done:
        stopping.cancel()
    elif not stopping.cancelled() and stopping.exception() is None:
        return
    closing = asyncio.create_task(consumer._client.close())  # noqa: SLF001 - stop() did not come this far
    await asyncio.wait({closing}, timeout=STOP_TIMEOUT_S)
