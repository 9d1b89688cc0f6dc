from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bus.marks import Mark, StoreWentBack, mark_of, refuse_if_behind
from libs.bus.records import TopicPartition

OURS, OTHERS = UUID(int=1), UUID(int=2)
TOPIC, MADE_AGAIN = UUID(int=3), UUID(int=4)
FIRST = TopicPartition("usage-shards", 0)
NUMBERS = st.integers(0, 2**62)


def mark(epoch: int = 1, owner_epoch: int = 5, at: int = 100, store: UUID = OURS, topic: UUID = TOPIC) -> Mark:
    return Mark(store, topic, epoch, owner_epoch, at)


@given(st.uuids(), st.uuids(), NUMBERS, NUMBERS, NUMBERS)
def test_a_mark_is_read_as_it_was_written(store: UUID, topic: UUID, epoch: int, owner_epoch: int, at: int) -> None:
    written = Mark(store, topic, epoch, owner_epoch, at)

    assert mark_of(at, written.metadata()) == written


@pytest.mark.parametrize("metadata", [None, "", "somebody's", "1 x y 1 1", "1 1 1 1", "2 " + "0" * 32])
def test_what_others_commit_is_no_mark(metadata: str | None) -> None:
    assert mark_of(7, metadata) is None


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(mark(at=99), id="a smaller offset"),
        pytest.param(mark(owner_epoch=4, at=500), id="an earlier owner"),
        pytest.param(mark(owner_epoch=-1, at=-1), id="never taken"),
    ],
)
def test_a_store_behind_what_it_told_is_refused(held: Mark) -> None:
    with pytest.raises(StoreWentBack, match=r'maestro bus raise-epoch --service metering --reason "[.]{3}"`'):
        refuse_if_behind("metering", {FIRST: mark()}, {FIRST: held})


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(mark(), id="where it was"),
        pytest.param(mark(at=101), id="further"),
        pytest.param(mark(owner_epoch=6, at=3), id="moved back by an operator, under a new owner epoch"),
        pytest.param(mark(epoch=2, owner_epoch=1, at=3), id="restored, its epoch raised"),
        pytest.param(mark(at=3, store=OTHERS), id="another store, made anew"),
        pytest.param(mark(at=3, topic=MADE_AGAIN), id="another topic of that name"),
    ],
)
def test_a_store_that_may_go_on_is_let(held: Mark) -> None:
    refuse_if_behind("metering", {FIRST: mark()}, {FIRST: held})


def test_a_partition_that_is_not_ours_now_says_nothing_about_our_store() -> None:
    refuse_if_behind("metering", {FIRST: mark()}, {})
