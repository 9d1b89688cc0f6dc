"""An event loop that runs what is ready in another order, and later, than asyncio would, as on a busy machine.

asyncio promises no order among tasks. Its own loop runs them first come, first served, so that a race between two of
them shows once in thousands of runs. Here a seed decides who goes first, and who has to wait a little.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from collections.abc import Coroutine
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

DELAYS_S: Final = (0.0, 0.001, 0.01, 0.05)
DELAYED_SHARES: Final = (0.0, 0.02, 0.1, 0.3)  # of the steps of tasks; one of them for a whole run

# asyncio's task in Python: what the loop holds of one in C does not say that it is a task's.
_Task: Any = tasks._PyTask  # type: ignore[attr-defined]


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Shuffles and delays the steps of tasks. Callbacks of transports and timers keep their order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)  # noqa: S311 - a schedule, no secret
        self._delayed_share = self._random.choice(DELAYED_SHARES)
        self.set_task_factory(_as_python_task)

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        handles = list(ready)
        places = [at for at, handle in enumerate(handles) if _is_step(handle)]
        steps = [handles[at] for at in places]
        self._random.shuffle(steps)
        for at, step in zip(places, steps, strict=True):
            handles[at] = step
        ready.clear()
        for handle in handles:
            if _is_step(handle) and self._random.random() < self._delayed_share:
                self.call_later(self._random.choice(DELAYS_S), _run, handle)
            else:
                ready.append(handle)
        super()._run_once()  # type: ignore[misc]


def _as_python_task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> Any:
    return _Task(work, loop=loop, **more)


def _is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), _Task)


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()


def run_shuffled(work: Coroutine[Any, Any, T], seed: int) -> T:
    """Run a coroutine to its end on a shuffled loop."""
    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(seed)) as runner:
        return runner.run(work)
