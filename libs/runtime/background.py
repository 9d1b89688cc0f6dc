"""Work that goes on beside the requests of a service: consumers, relays, readers of whole topics.

It is meant to run as long as the process does. If it ends by itself, by an error or by returning, something that the
service promised no longer happens: the process is asked to stop, drains, and is started again by whoever supervises it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

CANCEL_S: Final = 5.0  # work gives up its locks and leases within this, or is left to the end of the process

_log = logging.getLogger(__name__)


def stop_process() -> None:
    """Ask this process to stop as a supervisor would: the server drains, the exit stack closes."""
    os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def background(
    name: str, work: Coroutine[Any, Any, None], *, on_end: Callable[[], None] = stop_process
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` while the block runs, and cancel it afterwards; `on_end` is called if it ends before that."""

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        _log.critical("%s ended by itself; the process stops", name, exc_info=error)
        on_end()

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    try:
        yield task
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_S)
