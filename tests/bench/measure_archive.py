"""What archiving costs, and how fast an exact total over a million archived events is.

    make bench-archive

Not part of the tests: it asserts that every total is exact, and says the times. Records of a hundred events each come
from memory, as the archiver's consumer hands them on; files are synced, manifest and offsets are committed durably in
PostgreSQL on the same machine. Five percent of the events are copies. Writes tests/bench/results/archive.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from libs.bus.offsets import Incarnation, Move, begin_incarnation, take
from libs.bus.records import Record, TopicPartition
from libs.store.pool import Pool, transaction
from services.metering.domain.events import UsageEvent
from services.metering.domain.records import encode
from services.metering.handlers.archiving import Archive
from services.metering.handlers.reading import ARCHIVE_CONSUMER
from services.metering.store import MIGRATIONS
from services.metering.store.archive.folder import ArchiveFolder
from tests.bench import measure_metering
from tests.bench.measure_first_event import machine
from tests.support.metering import default_meters
from tests.support.stores import pools_on

EVENTS = int(os.environ.get("MAESTRO_BENCH_ARCHIVED", "1000000"))
SEED = measure_metering.SEED
ROUNDS = 21
BAR_MS = 100
LOT_BYTES = 64 * 1024 * 1024
FETCH_EVENTS = 20_000
PARTITIONS = 8
RESULT = Path(__file__).parent / "results" / "archive.json"
FILES = "read_parquet('{folder}/usage/*/*/*.parquet', hive_partitioning = true)"
AMOUNT = "amounts['ingest_events']"
PLACE = "(kafka_partition, kafka_offset, kafka_index)"
ONCE = "SELECT sum(first) FROM (SELECT arg_min({amount}, {place}) AS first FROM {files} {where} GROUP BY key)"
QUERIES = {
    "sum over all occurrences": "SELECT sum({amount}) FROM {files}",
    "sum with copies left out": ONCE.replace("{where}", ""),
    "one tenant, copies left out": ONCE.replace("{where}", "WHERE tenant = '{tenant}'"),
}


def lots(events: Iterator[UsageEvent]) -> Iterator[list[Record]]:
    """What the consumer hands on, fetch by fetch."""
    ends = [0] * PARTITIONS
    while fetch := list(islice(events, FETCH_EVENTS)):
        records = []
        for start in range(0, len(fetch), 100):
            for partition, value in encode(fetch[start : start + 100], PARTITIONS):
                appended_at_ms = time.time_ns() // 1_000_000
                records.append(Record("usage-shards", partition, ends[partition], b"", value, (), appended_at_ms))
                ends[partition] += 1
        yield sorted(records, key=lambda one: (one.partition, one.offset))


class Truth:
    """What the totals are, counted as the events are made."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.tenants: dict[str, Decimal] = {}
        self.all = self.once = Decimal(0)

    def told(self, events: Iterator[UsageEvent]) -> Iterator[UsageEvent]:
        for event in events:
            amount = Decimal(event.attributes["maestro.ingest.events"])  # type: ignore[arg-type]
            self.all += amount
            if event.key not in self.seen:
                self.seen.add(event.key)
                self.once += amount
                self.tenants[event.tenant_id] = self.tenants.get(event.tenant_id, Decimal(0)) + amount
            yield event


async def archived(pool: Pool, folder: ArchiveFolder, truth: Truth) -> dict[str, float]:
    """Archive all, and return what that took, the making of the events left out."""
    topic_id = UUID(int=1)
    sources = {TopicPartition("usage-shards", number): (topic_id, 0) for number in range(PARTITIONS)}
    async with transaction(pool) as tx:
        me = Incarnation(ARCHIVE_CONSUMER, "0", await begin_incarnation(tx, ARCHIVE_CONSUMER, "0"))
        owned = await take(tx, consumer=ARCHIVE_CONSUMER, instance="0", incarnation=me.number, starts=sources)
    archive, took_s, cpu_s, lot_count, size = Archive(folder, pool, default_meters()), 0.0, 0.0, 0, 0
    steps: dict[TopicPartition, Move] = {}
    fetches = list(lots(truth.told(measure_metering.events_of(Random(SEED), "archive"))))
    for at, records in enumerate(fetches):
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        size = await archive.gather(records, owned)
        for one in records:
            steps[one.source] = Move(owned[one.source], one.partition, one.offset + 1, one.appended_at_ms)
        if size >= LOT_BYTES or at == len(fetches) - 1:
            await archive.keep(me, [steps[source] for source in sorted(steps)])
            async with transaction(pool) as tx:
                owned = await take(tx, consumer=ARCHIVE_CONSUMER, instance="0", incarnation=me.number, starts=sources)
            steps, lot_count = {}, lot_count + 1
        took_s += time.perf_counter() - begun_s
        cpu_s += time.process_time() - begun_cpu_s
    files = list(folder.published.glob("*/*/*.parquet"))
    return {
        "events_per_s": round(EVENTS / took_s),
        "cpu_us_per_event": round(cpu_s * 1e6 / EVENTS, 2),
        "bytes_per_event": round(sum(one.stat().st_size for one in files) / EVENTS, 1),
        "lots": lot_count,
        "files": len(files),
        "columns_in_memory_at_most_mib": pa.default_memory_pool().max_memory() >> 20,
    }


def asked(folder: Path, query: str, tenant: str) -> tuple[Decimal, list[float]]:
    """Ask as often as ROUNDS in one session of DuckDB; return the total, and each round's milliseconds."""
    rounds = []
    files = FILES.format(folder=folder)
    with duckdb.connect(config={"threads": 2}) as db:
        for _ in range(ROUNDS):
            begun_s = time.perf_counter()
            found = db.execute(query.format(files=files, tenant=tenant, amount=AMOUNT, place=PLACE)).fetchone()
            rounds.append(round((time.perf_counter() - begun_s) * 1000, 1))
    assert found is not None
    return found[0], rounds


@pytest.mark.timeout(1200)
async def test_archiving_and_an_exact_total(
    fresh_database: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_metering, "EVENTS", EVENTS)
    folder, truth = ArchiveFolder(tmp_path / "archive"), Truth()
    async with pools_on(fresh_database("metering"), [MIGRATIONS]) as pools:
        archiving = await archived(pools.worker, folder, truth)
    tenant = max(truth.tenants, key=lambda one: truth.tenants[one])
    totals: dict[str, Any] = {}
    expected = dict(zip(QUERIES, (truth.all, truth.once, truth.tenants[tenant]), strict=True))
    for name, query in QUERIES.items():
        total, rounds = asked(folder.root, query, tenant)
        assert total == expected[name]
        totals[name] = {"min": min(rounds), "median": statistics.median(rounds), "max": max(rounds), "rounds": rounds}
    write(archiving, totals)


def write(archiving: dict[str, float], totals: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    result = {
        "what": "archiving events from memory to published files, and DuckDB's exact totals over them, in milliseconds",
        "bar_ms": BAR_MS,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": machine(),
        "load_average": os.getloadavg(),
        "versions": {"duckdb": duckdb.__version__, "pyarrow": pa.__version__, "python": platform.python_version()},
        "seed": SEED,
        "events": EVENTS,
        "archiving": archiving,
        "totals_ms": totals,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    short = {name: {key: one[key] for key in ("min", "median", "max")} for name, one in totals.items()}
    print(f"\n{json.dumps({'archiving': archiving, 'totals_ms': short}, indent=2)}\nwritten to {RESULT}", end="")
