from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bus.records import Record
from libs.bus.subscription import Poison
from libs.bus.writer import LONE_TRIES, Piece, halves, last_of_each, spot_of, without


def records(count: int) -> list[Record]:
    return [Record("usage-shards", 0, offset, None, None, (), 0) for offset in range(count)]


def poison(record: Record) -> Poison:
    return Poison(record, "bad", "why")


def dead(*found: Record) -> dict[tuple[str, int, int], Poison]:
    return {spot_of(one): poison(one) for one in found}


def test_what_stands_up_to_the_last_poison_is_written_with_it_and_the_rest_alone() -> None:
    batch = records(6)

    first, rest = without(Piece(batch), [poison(batch[1]), poison(batch[3])])

    assert first == Piece(batch[:4], dead(batch[1], batch[3]))
    assert rest == Piece(batch[4:])


def test_nothing_is_made_of_no_neighbours() -> None:
    batch = records(1)

    assert without(Piece(batch), [poison(batch[0])]) == [Piece(batch, dead(batch[0]))]


def test_what_is_to_be_set_aside_stays_so_when_another_poison_is_found() -> None:
    batch = records(5)

    first, rest = without(Piece(batch, dead(batch[0], batch[4])), [poison(batch[2])])

    assert (first.dead, rest.dead) == (dead(batch[0], batch[2]), dead(batch[4]))


def test_a_lone_record_is_tried_again_before_it_is_set_aside() -> None:
    (again,) = halves(Piece(records(1)), "bad", "why")
    (given_up,) = halves(Piece(records(1), tries=LONE_TRIES - 1), "bad", "why")

    assert (again.dead, again.tries) == ({}, 1)
    assert given_up.is_all_dead()


@given(st.integers(2, 50), st.integers(0, 49))
def test_halves_are_the_whole_in_the_same_order(count: int, at: int) -> None:
    batch = records(count)
    aside = dead(batch[at % count])

    left, right = halves(Piece(batch, aside), "bad", "why")

    assert [*left.records, *right.records] == batch
    assert {**left.dead, **right.dead} == aside
    assert abs(len(left.records) - len(right.records)) <= 1


@given(st.lists(st.tuples(st.sampled_from(["invoices", "usage-shards"]), st.integers(0, 3)), max_size=30))
def test_the_last_record_of_every_partition_is_found(places: list[tuple[str, int]]) -> None:
    batch = [Record(name, number, offset, None, None, (), 0) for offset, (name, number) in enumerate(sorted(places))]

    assert last_of_each(batch) == {record.source: record for record in batch}
