"""How fast totals are asked for where a million windows stand, beside the join that one would write first.

    make bench-queries

Not part of the tests: it asserts that both give the same totals, and nothing about time. What is timed is what a route
does in the store: a transaction as the API's role, under row security, with one question of one tenant. Both shapes ask
in turn. Writes tests/bench/results/queries.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median, quantiles

import asyncpg

from libs.store.pool import Pool, Tx, transaction
from services.metering.domain.calendar import Bucket, WindowSize, buckets, sliding
from services.metering.store import MIGRATIONS, windows
from tests.bench.measure_first_event import machine
from tests.support.stores import as_owner, pools_on

RESULT = Path(__file__).parent / "results" / "queries.json"
BAR_MS = 100
ROUNDS = 60
TENANTS, QUARTERS = 25, 40_000
SINCE = datetime(2025, 10, 1, tzinfo=UTC)
FROM = SINCE + timedelta(days=10)
TENANT = "tnt_" + "7".rjust(20, "a")
LOAD = """
INSERT INTO usage_window (tenant_id, metric, window_start, value, store_epoch, seq)
SELECT 'tnt_' || lpad(tenant::text, 20, 'a'), 'ingest_events', $1::timestamptz + quarter * interval '15 minutes',
  quarter * 1.25, 1, 1
FROM generate_series(1, $2::int) AS tenant, generate_series(0, $3::int - 1) AS quarter
"""
JOINED = """
SELECT coalesce(sum(mine.value), 0) AS total
FROM unnest($3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY AS range (starts_at, ends_at, place)
LEFT JOIN usage_window AS mine ON mine.tenant_id = $1 AND mine.metric = $2
  AND mine.window_start >= range.starts_at AND mine.window_start < range.ends_at
GROUP BY range.place ORDER BY range.place
"""
QUESTIONS: list[tuple[str, WindowSize, int, timedelta | None]] = [
    ("100 hours", "hour", 100, None),
    ("1000 hours", "hour", 1000, None),
    ("31 days", "day", 31, None),
    ("400 days", "day", 400, None),
    ("12 months", "month", 12, None),
    ("30 days, each of 1000 hours", "hour", 1000, timedelta(days=30)),
]
Totals = Callable[[Tx, Sequence[Bucket]], Awaitable[list[Decimal]]]


async def running(tx: Tx, ranges: Sequence[Bucket]) -> list[Decimal]:
    """Ask as the service does."""
    return await windows.totals(tx, TENANT, "ingest_events", ranges)


async def joined(tx: Tx, ranges: Sequence[Bucket]) -> list[Decimal]:
    """Ask by the join of each range with its windows."""
    starts, ends = [one.start for one in ranges], [one.end for one in ranges]
    return [row["total"] for row in await tx.fetch(JOINED, TENANT, "ingest_events", starts, ends)]


def ranges_of(size: WindowSize, count: int, over: timedelta | None) -> list[Bucket]:
    """Return the ranges of a question."""
    asked = list(buckets(size, "Europe/Berlin", FROM, FROM + timedelta(days=400)))[:count]
    return asked if over is None else [sliding(step, over) for step in asked]


async def took_ms(pool: Pool, ask: Totals, ranges: Sequence[Bucket]) -> tuple[float, list[Decimal]]:
    begun_s = time.perf_counter()
    async with transaction(pool, tenant=TENANT) as tx:
        found = await ask(tx, ranges)
    return (time.perf_counter() - begun_s) * 1000, found


async def test_totals_over_a_million_windows(fresh_database: Callable[..., str]) -> None:
    dsn = fresh_database("metering")
    async with pools_on(dsn, [MIGRATIONS]) as pools:
        async with transaction(pools.worker) as tx:
            await tx.execute(LOAD, SINCE, TENANTS, QUARTERS)
        await as_owner(dsn, "ANALYZE usage_window")
        shown = {name: await compare(pools.api, ranges_of(size, count, over)) for name, size, count, over in QUESTIONS}
        server = await pools.worker.fetchval("SHOW server_version")
    write(shown, server)


def write(shown: dict[str, dict[str, dict[str, float]]], server: str) -> None:
    """Print the figures and keep them, with what they were measured on."""
    for name, figures in shown.items():
        print(f"\n{name:30} {figures}", end="")
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    result = {
        "what": "totals of one tenant in the store, as the API's role, in milliseconds",
        "bar_ms": BAR_MS,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": asked.stdout.strip(),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "versions": {"postgresql": server, "asyncpg": asyncpg.__version__},
        "windows": TENANTS * QUARTERS,
        "questions": shown,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


async def compare(pool: Pool, ranges: Sequence[Bucket]) -> dict[str, dict[str, float]]:
    """Ask in both shapes, in turn; the join, which may take seconds, a tenth as often."""
    rounds: dict[str, list[float]] = {"running total": [], "join": []}
    for number in range(ROUNDS):
        ours_ms, ours = await took_ms(pool, running, ranges)
        rounds["running total"].append(ours_ms)
        if number % 10 == 0:
            theirs_ms, theirs = await took_ms(pool, joined, ranges)
            rounds["join"].append(theirs_ms)
            assert ours == theirs
    return {
        shape: {
            "rounds": len(ms),
            "p50": round(median(ms), 1),
            "p90": round(quantiles(ms, n=10, method="inclusive")[8], 1),
            "max": round(max(ms), 1),
        }
        for shape, ms in rounds.items()
    }
