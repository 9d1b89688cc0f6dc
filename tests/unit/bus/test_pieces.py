from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bus.records import Record
from libs.bus.subscription import PoisonRecord
from libs.bus.writer import LONE_TRIES, Piece, halves, last_of_each, without


def records(count: int) -> list[Record]:
    return [Record("usage-shards", 0, offset, None, None, (), 0) for offset in range(count)]


def test_a_poisoned_record_stands_alone_between_its_neighbours() -> None:
    batch = records(5)

    before, alone, after = without(Piece(batch), PoisonRecord(batch[2], "why"))

    assert (before, after) == (Piece(batch[:2]), Piece(batch[3:]))
    assert alone == Piece([batch[2]], dead="why")


def test_nothing_is_made_of_no_neighbours() -> None:
    (alone,) = without(Piece(records(1)), PoisonRecord(records(1)[0], "why"))

    assert alone.dead == "why"


def test_a_lone_record_is_tried_again_before_it_is_set_aside() -> None:
    (again,) = halves(Piece(records(1)), "why")
    (dead,) = halves(Piece(records(1), tries=LONE_TRIES - 1), "why")

    assert (again.dead, again.tries, dead.dead) == (None, 1, "why")


@given(st.integers(2, 50))
def test_halves_are_the_whole_in_the_same_order(count: int) -> None:
    left, right = halves(Piece(records(count)), "why")

    assert [*left.records, *right.records] == records(count)
    assert abs(len(left.records) - len(right.records)) <= 1


@given(st.lists(st.tuples(st.sampled_from(["invoices", "usage-shards"]), st.integers(0, 3)), max_size=30))
def test_the_last_record_of_every_partition_is_found(places: list[tuple[str, int]]) -> None:
    batch = [Record(name, number, offset, None, None, (), 0) for offset, (name, number) in enumerate(sorted(places))]

    assert last_of_each(batch) == {record.source: record for record in batch}
