from __future__ import annotations

import asyncio
import logging

import pytest

from libs.runtime.background import background
from libs.runtime.errors import Broken


async def test_background_work_is_cancelled_when_the_block_ends() -> None:
    started, gave_back, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            gave_back.set()

    async with background("relay", work(), on_end=asked.set) as task:
        await started.wait()

    assert gave_back.is_set()
    assert task.cancelled()
    assert not asked.is_set()


async def test_background_work_that_fails_asks_the_process_to_stop_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = asyncio.Event()

    async def work() -> None:
        raise Broken("the log was cut off")

    with caplog.at_level(logging.CRITICAL):
        async with background("relay", work(), on_end=asked.set):
            await asyncio.wait_for(asked.wait(), timeout=5)

    assert "relay ended by itself" in caplog.text
    assert "the log was cut off" in caplog.text


async def test_background_work_that_just_returns_asks_the_process_to_stop() -> None:
    asked = asyncio.Event()

    async def work() -> None:
        return

    async with background("relay", work(), on_end=asked.set):
        await asyncio.wait_for(asked.wait(), timeout=5)


async def test_an_error_of_the_block_ends_the_background_work_too() -> None:
    with pytest.raises(Broken):
        async with background("relay", _forever()) as task:
            raise Broken("the service could not start")

    assert task.cancelled()


async def _forever() -> None:
    await asyncio.Event().wait()
