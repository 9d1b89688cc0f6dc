"""A relay or a consumer as a process of its own, so that a test can have it killed at a crash point.

python -m tests.support.bus_process relay DSN
python -m tests.support.bus_process consumer DSN KEY PURPOSE

The broker is that of the environment, as a service has it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from libs.bus.kafka import KafkaAccess, access_of
from libs.runtime.settings import ServiceSettings
from tests.support.bus import bus_store, kafka_broker
from tests.support.consuming import Tenants, relay_of
from tests.support.kafka import kafka_environment

ROOT = Path(__file__).resolve().parents[2]


async def run(role: str, dsn: str, *more: str) -> None:
    """Work until killed."""
    async with kafka_broker(access_of(ServiceSettings())) as broker, bus_store(dsn, max_size=3) as pool:
        if role == "relay":
            await relay_of(pool, broker.bus).run()
        else:
            await Tenants(key=more[0], purpose=more[1]).consumer(broker.bus, pool).run()


def start(
    kafka: KafkaAccess, *arguments: str, crash_at: str = "", marker: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start one. With `crash_at` it dies at that point the first time it passes it, having made `marker`."""
    told = {"MAESTRO_CRASH_AT": f"{crash_at}:{marker}"} if crash_at else {}
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, *arguments],
        cwd=ROOT,
        env={**os.environ, **kafka_environment(kafka), **told},
    )


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
