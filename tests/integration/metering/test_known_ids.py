"""Which ids stand, over a real store: one answer from memory, from files and from tables, through whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import asyncpg
import pytest

from libs.bus.memory import MemoryBus
from libs.runtime.errors import Unavailable
from libs.store.pool import Pool, transaction
from services.metering.domain.events import UsageEvent
from services.metering.domain.runs import lane_of
from services.metering.domain.tiers import SMALL_ENTRIES, WEEK_US
from services.metering.settings import MeteringSettings
from services.metering.store import MIGRATIONS, runs
from tests.support.deciding import Deciding, add_run, cleared_away, run_states, standing, times_of
from tests.support.metering import NOON_US, usage
from tests.support.stores import pools_on

OLD_CODE_ADDS = "INSERT INTO usage_event_id (key, digest, time_us, kept_from_us) VALUES ($1, $2, $3, $3)"


@pytest.fixture
async def pool(settings: MeteringSettings) -> AsyncIterator[Pool]:
    async with pools_on(settings.postgres_url, [MIGRATIONS]) as pools:
        yield pools.worker


@pytest.fixture
async def one(pool: Pool, broker: MemoryBus, tmp_path: Path) -> Deciding:
    """A process that owns all partitions."""
    process = Deciding(broker, pool, tmp_path)
    await process.own()
    return process


@pytest.fixture
def other(pool: Pool, broker: MemoryBus, tmp_path: Path) -> Deciding:
    """A second process, which owns nothing yet."""
    return Deciding(broker, pool, tmp_path, instance="1")


def events(*numbers: int) -> list[UsageEvent]:
    return [usage(str(number)) for number in numbers]


def in_lane(lane: int, count: int) -> list[UsageEvent]:
    """Events whose keys are of one lane."""
    found = (one for one in (usage(f"of-lane-{number}") for number in range(1_000)) if lane_of(one.key) == lane)
    return [event for event, _ in zip(found, range(count), strict=False)]


async def old_code_adds(pool: Pool, *them: UsageEvent) -> None:
    for event in them:
        await pool.execute(OLD_CODE_ADDS, event.key.hex(), event.digest, event.time_us)


async def test_the_first_that_is_committed_stands_with_its_digest(one: Deciding) -> None:
    first, other_body = events(1, 2, 3), usage("2", ingest_events=7)
    digests = {event.key: event.digest for event in first[1:]}
    assert await one.claim(first) == {}
    assert await one.claim([other_body, *events(3, 4)]) == digests


async def test_what_was_rolled_back_does_not_stand(one: Deciding) -> None:
    assert await one.claim(events(1, 2), rolled_back=True) == {}
    assert await one.claim(events(2, 3)) == {}
    assert set(await one.claim(events(1, 2, 3))) == {event.key for event in events(2, 3)}


async def test_every_answer_is_that_of_a_dictionary(one: Deciding, other: Deciding, pool: Pool) -> None:
    random, truth = Random(11), dict[bytes, int]()  # noqa: S311 - the same steps each time
    for step in range(60):
        batch = {event.key: event for event in (usage(str(random.randrange(400))) for _ in range(random.randrange(40)))}
        week, rolled_back = step // 15 * WEEK_US, random.random() < 0.2
        process = random.choice([one, one, other])
        answer = await process.claim(list(batch.values()), seen_us=NOON_US + week, rolled_back=rolled_back)
        assert answer == {key: truth[key] for key in batch if key in truth}
        truth |= {} if rolled_back else {key: event.digest for key, event in batch.items() if key not in truth}
        steps: list[Callable[[], Awaitable[object]]] = [one.merge, one.own, one.restart, other.own_nothing]
        await random.choice(steps)()
    assert await standing(pool) == len(truth)


async def test_a_copy_through_another_partition_is_known_to_both_owners(one: Deciding, other: Deciding) -> None:
    mine, theirs = in_lane(1, 1), in_lane(6, 1)
    await one.own(range(4))
    await other.own(range(4, 8))
    assert await one.claim([*mine, *theirs]) == {}
    assert set(await other.claim([*mine, *theirs])) == {event.key for event in (*mine, *theirs)}
    assert set(await one.claim(theirs)) == {event.key for event in theirs}


async def test_of_two_that_add_one_id_at_once_one_waits_and_finds_it(
    one: Deciding, other: Deciding, pool: Pool
) -> None:
    await one.claim(in_lane(2, 3))
    async with transaction(pool) as tx:
        assert await other.claim_in(tx, in_lane(2, 5)[3:]) == {}
        waiting = asyncio.create_task(one.claim(in_lane(2, 6)[3:]))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
    assert set(await waiting) == {event.key for event in in_lane(2, 5)[3:]}


async def test_an_owner_that_was_replaced_adds_nothing_that_stands_and_merges_nothing(
    one: Deciding, other: Deciding, pool: Pool
) -> None:
    for week in range(3):
        await one.claim(in_lane(2, 9)[3 * week :][:3], seen_us=NOON_US + (week // 2) * WEEK_US)
    await one.claim([])
    await other.own()
    with pytest.raises(Unavailable, match="another owner"):
        await one.merge()
    await other.claim(in_lane(2, 20))
    assert len(await one.claim(in_lane(2, 20))) == 20
    assert await standing(pool) == 20


async def test_large_runs_are_merged_into_a_file_and_found_by_every_way(one: Deciding, pool: Pool) -> None:
    parts = [await add_run(pool, 5, SMALL_ENTRIES + seed, seed=seed) for seed in range(8)]
    few = in_lane(5, 4)
    await one.claim(few)
    await one.own()
    assert await one.merge() == 1
    assert len(await one.claim(in_lane(5, 6))) == 4
    assert await run_states(pool) == {"live": 3, "replaced": 8}
    await cleared_away(pool)
    assert await run_states(pool) == {"live": 3}
    assert await standing(pool) == sum(run.entries for run in parts) + 6
    assert await times_of(pool, [event.key for event in few]) == [NOON_US] * 4
    some = (await _some_of(pool, parts[0].entries + 7, 50)).keys()
    assert None not in await times_of(pool, some)


async def _some_of(pool: Pool, at_least: int, count: int) -> dict[bytes, None]:
    async with transaction(pool) as tx:
        [run] = [run for run in await runs.live_runs(tx, [5]) if run.entries > at_least]
        async for piece in runs.read_large(tx, run):
            return dict.fromkeys(piece.keys()[:: len(piece) // count])
    raise AssertionError("the run is empty")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def bit_turned(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def of_another_run(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[16:32] = bytes(16)
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damaged", [cut_short, bit_turned, of_another_run, emptied, Path.unlink])
async def test_a_file_that_is_not_what_it_should_be_is_made_anew(
    damaged: object, one: Deciding, pool: Pool, tmp_path: Path
) -> None:
    run = await add_run(pool, 5, SMALL_ENTRIES)
    await one.own()
    [file] = (tmp_path / "0").iterdir()
    assert file.stem == run.id.hex
    whole = file.read_bytes()
    assert callable(damaged)
    damaged(file)
    await one.restart()
    assert file.read_bytes() == whole


async def test_files_of_runs_that_are_gone_go_too(one: Deciding, pool: Pool, tmp_path: Path) -> None:
    run = await add_run(pool, 5, SMALL_ENTRIES)
    await one.own()
    async with transaction(pool) as tx:
        assert await runs.forget_before(tx, NOON_US + 1) == run.entries
    await one.restart()
    assert list((tmp_path / "0").iterdir()) == []


async def test_files_of_runs_that_were_merged_go_while_the_process_runs(
    one: Deciding, pool: Pool, tmp_path: Path
) -> None:
    for seed in range(8):
        await add_run(pool, 5, SMALL_ENTRIES, seed=seed)
    await one.own()
    assert len(list((tmp_path / "0").iterdir())) == 8
    assert await one.merge() == 1
    async with transaction(pool) as tx:
        [run] = await runs.live_runs(tx, [5])
    assert [file.stem for file in (tmp_path / "0").iterdir()] == [run.id.hex]


async def test_forgotten_runs_and_their_files_are_let_go_while_the_process_runs(
    one: Deciding, pool: Pool, tmp_path: Path
) -> None:
    await add_run(pool, 2, SMALL_ENTRIES)
    await one.own()
    async with transaction(pool) as tx:
        await runs.forget_before(tx, NOON_US + 1)
    one.known.look_again()
    await one.claim(in_lane(2, 1), seen_us=NOON_US + 2)
    assert list((tmp_path / "0").iterdir()) == []
    await one.claim([])
    assert one.known.entries(2) == 1


async def test_without_room_for_files_ids_are_looked_up_in_the_store_until_there_is(
    one: Deciding, pool: Pool, tmp_path: Path
) -> None:
    await one.claim(in_lane(2, 3))
    await add_run(pool, 2, SMALL_ENTRIES)
    (tmp_path / "0").write_text("no folder")
    await one.own()
    assert len(await one.claim(in_lane(2, 5))) == 3
    assert len(await one.claim(in_lane(2, 5))) == 5
    assert await standing(pool) == SMALL_ENTRIES + 5
    (tmp_path / "0").unlink()
    await one.own()
    assert one.known.entries(2) == SMALL_ENTRIES + 5
    assert len(await one.claim(in_lane(2, 6))) == 5


@pytest.mark.parametrize("after_steps", [1, 3, 6, 9, 12, 20])
async def test_a_merge_that_dies_anywhere_leaves_every_id_once(
    after_steps: int, one: Deciding, other: Deciding, pool: Pool
) -> None:
    for week in (0, 0, 0, 1):
        await one.claim(in_lane(2, 40)[(await standing(pool)) :][:10], seen_us=NOON_US + week * WEEK_US)
    await one.claim([])
    merging = asyncio.create_task(one.merger.turn())
    for _ in range(after_steps):
        await asyncio.wait({merging}, timeout=0.002)
    merging.cancel()
    await asyncio.wait({merging})
    await other.own()
    assert "building" not in await run_states(pool)
    assert await standing(pool) == 40
    assert len(await other.claim(in_lane(2, 40))) == 40


async def test_ids_of_before_are_known_and_move_into_runs(other: Deciding, pool: Pool) -> None:
    old = events(*range(30))
    keys = [event.key for event in old]
    await old_code_adds(pool, *old[:20])
    assert set(await other.claim(events(5, 6, 100))) == {keys[5], keys[6]}
    await old_code_adds(pool, *old[20:])
    await other.own()
    assert set(await other.claim(events(7, 25, 101))) == {keys[7], keys[25]}
    assert await other.merge() > 0
    assert await pool.fetchval("SELECT count(*) FROM usage_event_id") == 0
    assert set(await other.claim(events(*range(30), 102))) == set(keys)
    assert await times_of(pool, keys) == [NOON_US] * 30
    assert await standing(pool) == 33


async def test_once_ids_are_kept_in_runs_the_version_before_waits_with_its_own(one: Deciding, pool: Pool) -> None:
    await one.claim(events(1))
    with pytest.raises(asyncpg.CannotConnectNowError, match="newer version"):
        await old_code_adds(pool, *events(1))


async def test_what_others_noted_of_forgotten_ids_is_forgotten_with_them(one: Deciding, pool: Pool) -> None:
    young, old = events(1), events(2)
    await one.claim(old, seen_us=NOON_US)
    await one.claim(young, seen_us=NOON_US + WEEK_US)
    keys = [event.key for event in (*old, *young)]
    await pool.executemany("INSERT INTO usage_duplicate (key, copies) VALUES ($1, 1)", [(key.hex(),) for key in keys])
    async with transaction(pool) as tx:
        await runs.forget_before(tx, NOON_US + 1)
    await cleared_away(pool)
    assert [row[0].bytes for row in await pool.fetch("SELECT key FROM usage_duplicate")] == [young[0].key]
    assert await times_of(pool, keys) == [None, NOON_US]
