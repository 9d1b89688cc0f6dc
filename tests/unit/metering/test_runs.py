"""Runs of ids against a dictionary: what is put in is found, nothing else is, however it is cut, merged and packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.lanes import Lane, Part, joined, lanes_of, leader_of
from services.metering.domain.probing import Marks, find, mark, marks_of, may_hold, words_for
from services.metering.domain.runs import (
    ENTRY_BYTES,
    LANES,
    Columns,
    columns_of,
    lane_bounds,
    lane_of,
    merge,
    pack,
    slices,
    unpack,
)
from tests.support.runs import part_of, run_ids

# Few halves, so that keys share one or the other; among them the greatest and the least.
HALVES = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.sampled_from([2**61, 2**63, 2**64 - 1]))
KEYS = st.builds(lambda high, low: high.to_bytes(8, "big") + low.to_bytes(8, "big"), HALVES, HALVES)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
STANDING = st.dictionaries(KEYS, st.tuples(NUMBERS, NUMBERS), max_size=60)
Standing = dict[bytes, tuple[int, int]]


def run_of(standing: Standing) -> Columns:
    numbers = standing.values()
    return columns_of(list(standing), [digest for digest, _ in numbers], [time_us for _, time_us in numbers])


def halves_of(keys: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    asked = columns_of(keys, [0] * len(keys), [0] * len(keys))
    return asked.high, asked.low


def dictionary_of(run: Columns) -> Standing:
    return dict(zip(run.keys(), zip(run.digests.tolist(), run.times_us.tolist(), strict=True), strict=True))


@given(STANDING)
def test_a_run_holds_what_it_was_made_of_sorted_by_key(standing: Standing) -> None:
    run = run_of(standing)
    assert run.keys() == sorted(standing)
    assert dictionary_of(run) == standing


@given(STANDING)
def test_what_is_packed_is_unpacked_as_it_was(standing: Standing) -> None:
    packed = pack(run_of(standing))
    assert len(packed) == ENTRY_BYTES * len(standing)
    assert dictionary_of(unpack(packed)) == standing


@given(STANDING, st.lists(KEYS, max_size=40))
def test_what_stands_is_found_and_nothing_else(standing: Standing, others: list[bytes]) -> None:
    run, keys = run_of(standing), sorted({*others, *standing})
    which, where = find(run, *halves_of(keys))
    found = {keys[place]: int(digest) for place, digest in zip(which, run.digests[where], strict=True)}
    assert found == {key: digest for key, (digest, _) in standing.items()}


@given(STANDING, st.integers(1, 7))
def test_a_filter_rules_out_nothing_that_was_put_in(standing: Standing, pieces: int) -> None:
    run = run_of(standing)
    words = np.zeros(words_for(len(run)), np.uint64)
    for piece in slices([run], max(1, len(run) // pieces)):
        mark(words, marks_of(merge(piece).low))
    assert may_hold(words, marks_of(run.low)).tolist() == list(range(len(run)))


def test_a_filter_rules_out_nearly_all_that_was_not() -> None:
    random = np.random.default_rng(7)
    words = np.zeros(words_for(50_000), np.uint64)
    mark(words, marks_of(random.integers(0, 2**64, 50_000, np.uint64)))
    assert len(may_hold(words, marks_of(random.integers(0, 2**64, 50_000, np.uint64)))) < 1_500


@given(STANDING, st.integers(1, 5), st.integers(1, 20))
def test_slices_that_are_merged_one_by_one_are_all_merged(standing: Standing, inputs: int, entries: int) -> None:
    keys = sorted(standing)
    cut = [run_of({key: standing[key] for key in keys[number::inputs]}) for number in range(inputs)]
    merged = [merge(piece) for piece in slices(cut, entries)]
    assert b"".join(map(pack, merged)) == pack(run_of(standing))


def test_slices_of_hashed_keys_are_about_as_large_as_asked() -> None:
    random = np.random.default_rng(7)
    inputs = [part_of(random, 3, entries).columns for entries in (100_000, 30_000, 500)]
    sizes = [sum(map(len, piece)) for piece in slices(inputs, 10_000)]
    assert sum(sizes) == 130_500
    assert max(sizes) < 11_000


@given(st.lists(KEYS, unique=True, max_size=60))
def test_a_batch_is_cut_into_its_lanes(keys: list[bytes]) -> None:
    batch = columns_of(keys, [0] * len(keys), [0] * len(keys))
    bounds = lane_bounds(batch)
    cut = {lane: batch.part(bounds[lane], bounds[lane + 1]).keys() for lane in range(LANES)}
    assert cut == {lane: sorted(key for key in keys if lane_of(key) == lane) for lane in range(LANES)}


@pytest.mark.parametrize(
    ("partition", "partitions", "lanes"),
    [(0, 1, set(range(8))), (3, 8, {3}), (1, 4, {2, 3}), (5, 16, {2}), (2, 3, {5, 6, 7}), (1, 3, {2, 3, 4, 5})],
)
def test_a_partition_holds_the_lanes_of_its_shards(partition: int, partitions: int, lanes: set[int]) -> None:
    assert lanes_of(partition, partitions) == lanes


@pytest.mark.parametrize("partitions", [1, 3, 8, 16, 256])
def test_each_lane_has_one_partition_that_merges_it_and_holds_it(partitions: int) -> None:
    for lane in range(LANES):
        assert lane in lanes_of(leader_of(lane, partitions), partitions)


def all_found(lane: Lane, standing: Standing) -> dict[bytes, int]:
    keys = sorted(standing)
    high, low = halves_of(keys)
    which, digests = lane.find(high, low, marks_of(low))
    return {keys[place]: digest for place, digest in zip(which.tolist(), digests.tolist(), strict=True)}


@given(st.lists(STANDING, max_size=8))
def test_a_lane_knows_what_was_added_to_it_and_by_which_runs(batches: list[Standing]) -> None:
    lane, standing, ids = Lane(0), dict[bytes, tuple[int, int]](), run_ids()
    for batch in batches:
        fresh = {key: value for key, value in batch.items() if key not in standing}
        lane.add(Part(run_of(fresh), frozenset([next(ids)]), 0))
        standing |= fresh
    assert all_found(lane, standing) == {key: digest for key, (digest, _) in standing.items()}
    assert len(frozenset[object]().union(*(part.runs for part in lane.parts))) == len(batches)


def test_small_parts_are_joined_as_they_grow() -> None:
    random, lane = np.random.default_rng(7), Lane(3)
    for _ in range(100):
        lane.add(part_of(random, 3, 100))
    assert sum(part.entries for part in lane.parts) == 10_000
    assert len(lane.parts) <= 7


def test_what_is_being_merged_stays_apart_from_what_comes_meanwhile() -> None:
    random, lane = np.random.default_rng(7), Lane(3)
    first, second = part_of(random, 3, 100), part_of(random, 3, 100)
    lane.add(first)
    lane.merging = first.runs
    lane.add(second)
    merged = part_of(random, 3, 100)
    lane.replace(first.runs, merged)
    assert [part.runs for part in lane.parts] == [merged.runs, second.runs]


def test_a_part_that_is_not_all_of_live_runs_is_read_again() -> None:
    random, lane = np.random.default_rng(7), Lane(3)
    parts = [part_of(random, 3, 100) for _ in range(3)]
    lane.parts = [parts[0], joined(parts[1:])]
    live = parts[0].runs | parts[1].runs
    assert lane.keep(live) == parts[1].runs
    assert [part.runs for part in lane.parts] == [parts[0].runs]


def test_a_part_with_a_filter_finds_what_one_without_does() -> None:
    random = np.random.default_rng(7)
    plain = part_of(random, 3, 5_000)
    words = np.zeros(words_for(5_000), np.uint64)
    mark(words, marks_of(plain.columns.low))
    filtered = Part(plain.columns, plain.runs, 0, words)
    asked = merge([plain.columns.part(100, 200), part_of(random, 3, 3_000).columns])
    marks: Marks = marks_of(asked.low)
    found = [part.find(asked.high, asked.low, marks)[0].tolist() for part in (plain, filtered)]
    assert found[0] == found[1]
    assert len(found[0]) == 100
