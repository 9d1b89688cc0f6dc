"""One lot after the other, by hand: whoever is stale, torn or in the way, each record is archived once."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from libs.bus.offsets import Incarnation, Move, NotOwner, Owned, Replaced, begin_incarnation, take
from libs.bus.records import Record, TopicPartition
from libs.store.pool import Pool, transaction
from services.metering.domain.records import encode
from services.metering.errors import ArchiveDamaged, ArchivedBefore, ArchiveUnwritable
from services.metering.handlers.archiving import Archive
from services.metering.handlers.reading import ARCHIVE_CONSUMER
from services.metering.settings import MeteringSettings
from services.metering.store import MIGRATIONS
from services.metering.store.archive.folder import ArchiveFolder
from tests.support.archive import ask, spots
from tests.support.metering import ALICE, BOB, NOON_US, default_meters, usage
from tests.support.stores import pools_on

TOPIC = UUID(int=7)
SOURCE = TopicPartition("usage-shards", 0)
DAY_US = 86_400_000_000


@pytest.fixture
async def pool(settings: MeteringSettings) -> AsyncIterator[Pool]:
    async with pools_on(settings.postgres_url, [MIGRATIONS]) as pools:
        yield pools.worker


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder(tmp_path / "archive")


@dataclass
class Archiver:
    """A process that owns partition 0, step by step."""

    archive: Archive
    me: Incarnation
    owned: Owned

    async def gather(self, offset: int, count: int = 1) -> None:
        """Read records of two events each, of two tenants on two days."""
        await self.archive.gather([record(number) for number in range(offset, offset + count)], {SOURCE: self.owned})

    async def keep(self, to: int) -> None:
        await self.archive.keep(self.me, [Move(self.owned, 0, to, 0)])


def record(offset: int) -> Record:
    events = [
        usage(f"{offset}", tenant_id=ALICE, ingest_events=offset),
        usage(f"{offset}", tenant_id=BOB, ingest_events=offset, time_us=NOON_US - DAY_US),
    ]
    [(_, value)] = encode(events, 1)
    return Record("usage-shards", 0, offset, b"0", value, (), NOON_US // 1000)


async def archiver(pool: Pool, folder: ArchiveFolder, instance: str = "0") -> Archiver:
    """A new process of `instance`, which has taken the partition and settled."""
    async with transaction(pool) as tx:
        me = Incarnation(ARCHIVE_CONSUMER, instance, await begin_incarnation(tx, ARCHIVE_CONSUMER, instance))
        owned = await take(
            tx, consumer=ARCHIVE_CONSUMER, instance=instance, incarnation=me.number, starts={SOURCE: (TOPIC, 0)}
        )
    found = Archiver(Archive(folder, pool, default_meters()), me, owned[SOURCE])
    await found.archive.settle(me)
    return found


async def kept(pool: Pool, folder: ArchiveFolder) -> None:
    """Have the offsets [0, 3) archived."""
    first = await archiver(pool, folder)
    await first.gather(0, 3)
    await first.keep(3)


def staged(folder: ArchiveFolder) -> list[Path]:
    return sorted((folder.root / "staging").rglob("*.parquet"))


def offsets(folder: ArchiveFolder) -> list[int]:
    return sorted(offset for (_, _, offset, _) in spots(folder.root))


async def test_a_lot_lies_by_day_and_bucket_sorted_and_only_we_can_read_it(pool: Pool, folder: ArchiveFolder) -> None:
    await kept(pool, folder)
    assert sorted(folder.places()) == [
        "day=2025-11-23/tenant_hash=06/00000000.0-0-3.parquet",
        "day=2025-11-24/tenant_hash=04/00000000.0-0-3.parquet",
    ]
    rows = ask(
        folder.root, "tenant, day::text, tenant_hash, kafka_offset, amounts['ingest_events']", "amounts IS NOT NULL"
    )
    assert rows == [(BOB, "2025-11-23", "06", number, number) for number in range(3)] + [
        (ALICE, "2025-11-24", "04", number, number) for number in range(3)
    ]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in folder.root.rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert staged(folder) == []


async def test_an_archiver_whose_partition_was_taken_keeps_nothing(pool: Pool, folder: ArchiveFolder) -> None:
    stale = await archiver(pool, folder, "stale")
    await stale.gather(0, 2)
    heir = await archiver(pool, folder, "heir")
    with pytest.raises(NotOwner):
        await stale.keep(2)
    await heir.gather(0, 3)
    await heir.keep(3)
    assert offsets(folder) == [0, 0, 1, 1, 2, 2]
    await stale.archive.settle(stale.me)
    assert staged(folder) == []


async def test_a_process_that_was_replaced_keeps_nothing(pool: Pool, folder: ArchiveFolder) -> None:
    old = await archiver(pool, folder)
    await old.gather(0)
    await archiver(pool, folder)
    with pytest.raises(Replaced):
        await old.keep(1)
    assert offsets(folder) == []


async def test_what_was_staged_and_not_committed_is_deleted_and_read_again(pool: Pool, folder: ArchiveFolder) -> None:
    torn = folder.root / "staging" / folder.staging_of("0") / "0123" / "day=2025-11-24" / "torn.parquet"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"PAR1 and then the lights went out")
    await kept(pool, folder)
    assert staged(folder) == []
    assert offsets(folder) == [0, 0, 1, 1, 2, 2]


async def test_what_another_instance_stages_is_let_be(pool: Pool, folder: ArchiveFolder) -> None:
    other = folder.root / "staging" / folder.staging_of("other/..") / "0123" / "file.parquet"
    other.parent.mkdir(parents=True)
    other.touch()
    await kept(pool, folder)
    assert other.exists()


async def test_what_was_committed_and_not_published_is_published_by_the_next(pool: Pool, folder: ArchiveFolder) -> None:
    first = await archiver(pool, folder)
    await first.gather(0, 3)
    folder.root.mkdir(exist_ok=True)
    folder.published.touch()  # a file where the folder should be
    with pytest.raises(ArchiveUnwritable):
        await first.keep(3)
    folder.published.unlink()
    assert len(staged(folder)) == 2
    second = await archiver(pool, folder, "second")
    assert second.owned.next == 3
    assert offsets(folder) == [0, 0, 1, 1, 2, 2]
    assert staged(folder) == []


async def test_a_committed_file_that_was_cut_is_named_and_not_published(pool: Pool, folder: ArchiveFolder) -> None:
    first = await archiver(pool, folder)
    await first.gather(0, 3)
    folder.root.mkdir(exist_ok=True)
    folder.published.touch()
    with pytest.raises(ArchiveUnwritable):
        await first.keep(3)
    folder.published.unlink()
    [cut, _] = staged(folder)
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged, match=cut.name):
        await archiver(pool, folder)
    assert cut.exists()


async def test_an_offset_that_was_set_back_does_not_archive_twice(pool: Pool, folder: ArchiveFolder) -> None:
    await kept(pool, folder)
    await pool.execute("UPDATE consumer_offset SET next = 1 WHERE consumer = $1", ARCHIVE_CONSUMER)
    again = await archiver(pool, folder)
    await again.gather(1, 4)
    with pytest.raises(ArchivedBefore, match="lies before 3"):
        await again.keep(5)
    assert offsets(folder) == [0, 0, 1, 1, 2, 2]


async def test_after_a_restored_store_files_that_it_does_not_know_are_set_aside(
    pool: Pool, folder: ArchiveFolder
) -> None:
    await kept(pool, folder)
    unknown = folder.published / "day=2025-11-24" / "tenant_hash=04" / "00000000.0-3-9.parquet"
    unknown.write_bytes((unknown.parent / "00000000.0-0-3.parquet").read_bytes())
    await archiver(pool, folder)
    assert offsets(folder) == [0, 0, 1, 1, 2, 2]
    assert (folder.root / "aside" / "day=2025-11-24" / "tenant_hash=04" / unknown.name).exists()
