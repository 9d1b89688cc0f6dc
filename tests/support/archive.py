"""The archive as a stranger with DuckDB reads it: a plain glob with Hive partitioning, and nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from libs.bus.ports import Bus
from libs.store.pool import Pool
from tests.support.conditions import eventually

Row = tuple[Any, ...]


def ask(folder: Path, what: str, where: str = "true") -> list[Row]:
    """Select `what` from all published files, none where there is no file."""
    glob = folder / "usage" / "*" / "*" / "*.parquet"
    if not list((folder / "usage").glob("*/*/*.parquet")):
        return []
    select = f"SELECT {what} FROM read_parquet('{glob}', hive_partitioning = true) WHERE {where}"  # noqa: S608 - ours
    with duckdb.connect() as db:
        # Files that are renamed while the glob is read are there or not; the next look tells.
        return db.execute(select).fetchall()


def spots(folder: Path) -> list[Row]:
    """Where each archived row lay in Kafka."""
    return ask(folder, "topic_id, kafka_partition, kafka_offset, kafka_index")


async def until_archived(bus: Bus, pool: Pool, within_s: float = 40.0) -> None:
    """Wait until all that lies in usage-shards now is in published files."""
    ends = await bus.end_offsets("usage-shards")
    ids = await bus.topic_ids(["usage-shards"])

    async def archived() -> bool:
        rows = await pool.fetch(
            "SELECT partition, max(end_offset) AS reached FROM archive_range WHERE topic_id = $1 GROUP BY partition",
            ids["usage-shards"],
        )
        reached = {row["partition"]: row["reached"] for row in rows}
        # Asked after the ranges: a lot is committed first and published then.
        waiting = await pool.fetchval("SELECT count(*) FROM archive_lot WHERE published_at IS NULL")
        return waiting == 0 and all(reached.get(partition, 0) >= end for partition, end in ends.items())

    await eventually(archived, "all usage is archived", within_s=within_s, every_s=0.05)
