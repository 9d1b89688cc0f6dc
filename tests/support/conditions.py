"""Waiting for what becomes true in another process: a condition and a deadline, never a guess how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

WITHIN_S: Final = 45.0  # generous: a member that is gone for good holds its share 10 s; no passing test waits it out
ASK_AGAIN_S: Final = 0.01


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, *, within_s: float = WITHIN_S, every_s: float = ASK_AGAIN_S
) -> float:
    """Return after how many seconds `condition` held; raise AssertionError, saying `what`, at the deadline."""
    begun_s = time.monotonic()
    while not await condition():
        assert time.monotonic() - begun_s < within_s, f"not so within {within_s} s: {what}"
        await asyncio.sleep(every_s)
    return time.monotonic() - begun_s
