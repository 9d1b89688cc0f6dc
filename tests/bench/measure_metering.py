"""How fast the shard owner is: from records that lie in Kafka to totals, ids and offsets committed in PostgreSQL.

    MAESTRO_BENCH_EVENTS=200000 MAESTRO_BENCH_IDS=10000000 python -m pytest tests/bench/measure_metering.py -q -s

Not part of the tests: it asserts that each event is known once, and nothing about time. Broker and database run on the
same machine as the owner, which is a process of its own with the service's own settings; commits are durable. Five
percent of the events are copies. Events come from a seed. MAESTRO_BENCH_IDS ids (100000000, say) stand before: they
are in the store, the owner has read them from there, and was started again with the files that it made.
MAESTRO_BENCH_RESULT names a file that every round is added to.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Message
from libs.store.pool import Pool, open_pool
from libs.store.roles import Role
from services.metering.domain.events import Kind, UsageEvent
from services.metering.domain.identity import Fingerprints
from services.metering.domain.records import encode
from services.metering.settings import MeteringSettings
from services.metering.store import MIGRATIONS
from tests.bench.loading import load_ids
from tests.bench.measure_first_event import machine
from tests.support.access import bearer
from tests.support.conditions import eventually
from tests.support.dying import dying_at
from tests.support.kafka import kafka_environment, kafka_settings
from tests.support.metering import SECRET
from tests.support.metering_world import metering_world
from tests.support.stack import in_own_loop
from tests.support.stores import pools_on

IDS = int(os.environ.get("MAESTRO_BENCH_IDS", "0"))
RESULT = os.environ.get("MAESTRO_BENCH_RESULT", "")
EVENTS = int(os.environ.get("MAESTRO_BENCH_EVENTS", "100000"))
ARCHIVE = os.environ.get("MAESTRO_BENCH_ARCHIVE", "1") == "1"
SEED = int(os.environ.get("MAESTRO_BENCH_SEED", "1"))
TENANTS = 5_000
COPIES = 0.05
REQUESTS = 1_600
COUNT_IDS = "SELECT coalesce(sum(entries), 0)::bigint FROM usage_id_run WHERE state = 'live'"
STORE_BYTES = "SELECT pg_total_relation_size('usage_id_run') + pg_total_relation_size('usage_id_chunk')"
PROGRESS = "SELECT coalesce(sum(next), 0) FROM consumer_offset WHERE consumer = 'metering.shards'"


@dataclass
class Load:
    """Messages for usage-shards, and what they must sum up to."""

    messages: list[Message]
    events: int
    total: int


def zipf_tenants(random: Random) -> list[str]:
    """Tenants by weight: the n-th has a share of 1/n."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    names = ["tnt_" + "".join(random.choices(letters, k=20)) for _ in range(TENANTS)]
    return random.choices(names, weights=[1 / (rank + 1) for rank in range(TENANTS)], k=EVENTS)


def events_of(random: Random, run: str) -> Iterator[UsageEvent]:
    """Distinct events, and copies of those that came before."""
    marks, now_us = Fingerprints(SECRET), time.time_ns() // 1000
    kept: list[UsageEvent] = []
    for number, tenant in enumerate(zipf_tenants(random)):
        if kept and random.random() < COPIES:
            yield random.choice(kept)
            continue
        attributes: dict[str, Any] = {
            "maestro.ingest.events": random.choice([1, 7, "0.1", 100]),
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.path": "/ingest",
            "region": "eu",
        }
        time_us = now_us - random.randrange(3_600_000_000)
        key = marks.key(tenant, run, str(number))
        digest = marks.body("ingest", Kind.CLOUDEVENT, time_us, attributes)
        event = UsageEvent(key, digest, tenant, run, str(number), "ingest", Kind.CLOUDEVENT, time_us, False, attributes)
        kept.append(event)
        yield event


def made_load(per_request: int, partitions: int, run: str) -> Load:
    """What edges write when each request brings `per_request` events."""
    random = Random(SEED)
    stream, messages, seen, count = events_of(random, run), [], set(), 0
    while lot := list(islice(stream, per_request)):
        count += len(lot)
        seen |= {event.key for event in lot}
        messages += [Message("usage-shards", b"", value, (), partition) for partition, value in encode(lot, partitions)]
    return Load(messages, count, len(seen))


@dataclass
class Owner:
    """The process, and what the kernel knows of it (proc(5))."""

    process: asyncio.subprocess.Process
    address: str

    def cpu_s(self) -> float:
        """Seconds of CPU used so far, user and system."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def anonymous_mb(self) -> int:
        """Anonymous memory that is resident now."""
        return self._mb("RssAnon")

    def resident_mb(self) -> int:
        """All that is resident now, mapped files included."""
        return self._mb("VmRSS")

    def _mb(self, name: str) -> int:
        line = next(line for line in self._read("status").splitlines() if line.startswith(name))
        return int(line.split()[1]) // 1024

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="ascii")


def machine_cpu_s() -> float:
    """Seconds of CPU that all processes of this machine used so far (proc(5): user, nice, system; interrupts too)."""
    user, nice, system, _idle, _wait, *others = map(int, Path("/proc/stat").read_text("ascii").split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def owner(settings: MeteringSettings, kafka: KafkaAccess) -> AsyncIterator[Owner]:
    """Metering as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {
        "MAESTRO_PORT": str(port),
        "MAESTRO_STATE_DIR": str(settings.state_dir),
        "MAESTRO_ARCHIVE": str(ARCHIVE).lower(),
        "MAESTRO_POSTGRES_URL": settings.postgres_url,
        **kafka_environment(kafka),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.metering", env=os.environ | told)
    try:
        yield Owner(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def pool_of(settings: MeteringSettings) -> AsyncIterator[Pool]:
    """A pool on the owner's database, once the owner has made its tables."""
    pool = await open_pool(settings, Role.WORKER, name="bench")
    while await pool.fetchval(
        "SELECT coalesce(NOT has_table_privilege(to_regclass('usage_id_chunk'), 'SELECT'), true)"
    ):
        await asyncio.sleep(0.2)
    yield pool
    await pool.close()


async def until(pool: Pool, records: int) -> None:
    """Wait until so many records are behind the stored offsets."""
    while await pool.fetchval(PROGRESS) < records:
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("per_request", [1, 100, 1000])
@pytest.mark.timeout(1200)
async def test_from_kafka_to_committed_totals(per_request: int, loaded: MeteringSettings, kafka: KafkaAccess) -> None:
    bus = KafkaBus(kafka, client_id="bench")
    await bus.start()
    begun_s = time.perf_counter()
    async with owner(loaded, kafka) as running, pool_of(loaded) as pool:
        before = sum((await bus.end_offsets("usage-shards")).values())
        await until(pool, before)
        await until_ready(running)
        start_s = time.perf_counter() - begun_s
        known = await pool.fetchval(COUNT_IDS)
        load = made_load(per_request, await bus.partitions("usage-shards"), f"run-{per_request}")
        running.process.send_signal(signal.SIGSTOP)
        for start in range(0, len(load.messages), 5_000):
            await bus.publisher.publish(load.messages[start : start + 5_000])
        running.process.send_signal(signal.SIGCONT)
        begun_s, begun_cpu_s, begun_all_s = time.perf_counter(), running.cpu_s(), machine_cpu_s()
        await until(pool, before + len(load.messages))
        took_s, cpu_s = time.perf_counter() - begun_s, running.cpu_s() - begun_cpu_s
        all_cpu_s = machine_cpu_s() - begun_all_s
        assert await pool.fetchval(COUNT_IDS) == known + load.total
        show(
            {
                "events_a_request": per_request,
                "events": load.events,
                "records": len(load.messages),
                "events_s": round(load.events / took_s),
                "owner_cpu_us_an_event": round(cpu_s * 1e6 / load.events, 1),
                "machine_cpu_us_an_event": round(all_cpu_s * 1e6 / load.events, 1),
                "anonymous_mb": running.anonymous_mb(),
                "resident_mb": running.resident_mb(),
                "archive": ARCHIVE,
                "ids_before": known,
                "store_bytes_an_id": round(await pool.fetchval(STORE_BYTES) / (known + load.total), 1),
                "file_bytes_an_id": round(file_bytes(loaded) / (known + load.total), 1),
                "start_s": round(start_s, 1),
                "seed": SEED,
                "load_average": os.getloadavg()[0],
            }
        )
    await bus.stop()


@pytest.fixture(scope="module")
def loaded(
    module_database: Callable[..., str], kafka: KafkaAccess, tmp_path_factory: pytest.TempPathFactory
) -> MeteringSettings:
    """Metering whose store holds IDS ids, and which has read them from there once."""
    folder = tmp_path_factory.mktemp("state")
    settings = MeteringSettings(postgres_url=module_database("metering"), state_dir=folder, **kafka_settings(kafka))
    in_own_loop(load_and_read(settings, kafka))
    return settings


async def load_and_read(settings: MeteringSettings, kafka: KafkaAccess) -> None:
    """Make the tables, load the ids, and have an owner read them."""
    async with pools_on(settings.postgres_url, [MIGRATIONS]) as pools:
        begun_s = time.perf_counter()
        await load_ids(pools.worker, IDS, SEED)
        loaded_s = time.perf_counter()
        async with owner(settings, kafka) as running:
            await until_ready(running)
            read_s = time.perf_counter()
            show(
                {
                    "loaded_ids": await pools.worker.fetchval(COUNT_IDS),
                    "load_s": round(loaded_s - begun_s, 1),
                    "first_start_s": round(read_s - loaded_s, 1),
                    "anonymous_mb": running.anonymous_mb(),
                    "resident_mb": running.resident_mb(),
                }
            )


async def until_ready(running: Owner) -> None:
    """Wait until the process has taken its partitions and knows their ids."""
    async with httpx.AsyncClient(base_url=running.address, trust_env=False) as http:
        await eventually(lambda: answers(http), "the owner is ready", within_s=600, every_s=0.1)


def file_bytes(settings: MeteringSettings) -> int:
    """What the runs of the owner take on the disk."""
    return sum(path.stat().st_size for path in settings.runs_path.glob("*"))


def show(round_: dict[str, Any]) -> None:
    """Print a round, and add it to the result, which begins with what it was measured on."""
    print("\n" + "  ".join(f"{name}={value}" for name, value in round_.items()), end="", flush=True)
    if not RESULT:
        return
    lines = [] if Path(RESULT).exists() else [measured_on()]
    with Path(RESULT).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in [*lines, round_])


def measured_on() -> dict[str, Any]:
    """What was measured, where, and with which versions."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return {
        "what": "usage-shards in Kafka to totals, ids and offsets committed; the archiver runs in the same process",
        "commit": asked.stdout.strip(),
        "machine": machine(),
        "versions": {one: version(one) for one in ("aiokafka", "asyncpg", "msgspec", "numpy", "uvloop")},
        "servers": "Kafka 4.3.0, PostgreSQL 18, on the same machine; commits are durable",
    }


@pytest.mark.parametrize(("per_request", "clients"), [(1, 1), (1, 32), (100, 8)])
async def test_over_http_to_durable_in_kafka(
    per_request: int, clients: int, fresh_database: Callable[..., str], kafka: KafkaAccess, tmp_path: Path
) -> None:
    settings = MeteringSettings(postgres_url=fresh_database("metering"), **kafka_settings(kafka))
    async with metering_world(settings, KafkaBus(kafka, client_id="before")) as world:
        tenant = await world.new_tenant()
        template = json.dumps([world.event(tenant, "ID", 1) for _ in range(per_request)])
        ends = sum((await world.bus.end_offsets("usage-shards")).values())
    async with (
        dying_at("nowhere", "metering", told_of(settings, kafka), tmp_path) as runner,
        pool_of(settings) as pool,
    ):
        await until(pool, ends)
        async with httpx.AsyncClient(base_url=runner.address, trust_env=False) as http:
            await eventually(lambda: answers(http), "the edge is ready", within_s=60)
        senders = [Sender(runner.address, bearer(world.keys[tenant]), template, number) for number in range(clients)]
        begun_s = time.perf_counter()
        rounds = await asyncio.gather(*(sender.send(REQUESTS // clients) for sender in senders))
        events_s = REQUESTS // clients * clients * per_request / (time.perf_counter() - begun_s)
    took = sorted(chain.from_iterable(rounds))
    print(
        f"\nHTTP, {per_request} events a request, {clients} clients: {events_s:9.0f} events/s,"
        f" p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {took[len(took) * 99 // 100] * 1000:.1f} ms",
        end="",
    )


@dataclass
class Sender:
    """One connection that sends batch after batch. A client library would cost more CPU than the edge does."""

    address: str
    authorization: str
    template: str
    number: int

    async def send(self, requests: int) -> list[float]:
        """Send so many requests and return the seconds that each took."""
        host, _, port = self.address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        took: list[float] = []
        for turn in range(requests):
            request = self._request(turn)
            begun_s = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            took.append(time.perf_counter() - begun_s)
            assert head.startswith(b"HTTP/1.1 204"), head
        writer.close()
        return took

    def _request(self, turn: int) -> bytes:
        places = count()
        body = re.sub("ID", lambda _: f"{self.number}-{turn}-{next(places)}", self.template).encode()
        head = (
            f"POST /api/v1/events HTTP/1.1\r\nhost: edge\r\nauthorization: {self.authorization}\r\n"
            f"content-type: application/cloudevents-batch+json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def told_of(settings: MeteringSettings, kafka: KafkaAccess) -> dict[str, str]:
    return {"MAESTRO_POSTGRES_URL": settings.postgres_url, **kafka_environment(kafka)}


async def answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
