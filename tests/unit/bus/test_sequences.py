from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bus.records import Record
from libs.bus.sequences import Lane, Stamp, fresh, stamp_of

LANE = Lane("https://maestro.example/quota", "plan-changes", 0, b"")


def record(offset: int, *headers: tuple[str, bytes], key: bytes = b"k") -> Record:
    return Record("plan-changes", 0, offset, key, b"v", headers, 0)


def stamped(seq: int, epoch: int = 1) -> Record:
    headers = (("ce_source", LANE.producer.encode()), ("ce_maestroepoch", b"%d" % epoch))
    return record(seq, *headers, ("ce_maestroseq", b"%d" % seq))


def stamps(*seqs: int) -> tuple[list[Record], dict[int, Stamp]]:
    return [stamped(seq) for seq in seqs], {index: Stamp(LANE, (1, seq)) for index, seq in enumerate(seqs)}


def offsets(records: list[Record]) -> list[int]:
    return [one.offset for one in records]


def test_a_stamp_names_producer_partition_and_place() -> None:
    assert stamp_of(stamped(7), compacted=False) == Stamp(LANE, (1, 7))


def test_on_a_compacted_topic_a_stamp_counts_for_its_key() -> None:
    found = stamp_of(stamped(7), compacted=True)

    assert found is not None
    assert found.lane.key == b"k"


def test_a_foreign_record_has_no_stamp() -> None:
    assert stamp_of(record(1, ("ce_source", b"elsewhere")), compacted=False) is None


def test_a_producer_name_that_no_store_can_hold_is_no_stamp() -> None:
    headers = (("ce_source", b"a\x00b"), ("ce_maestroepoch", b"1"), ("ce_maestroseq", b"1"))

    assert stamp_of(record(1, *headers), compacted=False) is None


def test_what_was_taken_before_is_dropped() -> None:
    passed, news = fresh(*stamps(4, 5, 6), {LANE: (1, 5)})

    assert (offsets(passed), news) == ([6], {LANE: (1, 6)})


def test_a_repeat_inside_one_batch_is_dropped() -> None:
    passed, news = fresh(*stamps(1, 2, 1, 2, 3), {})

    assert (offsets(passed), news) == ([1, 2, 3], {LANE: (1, 3)})


def test_a_greater_epoch_goes_before_any_sequence() -> None:
    passed, _ = fresh([stamped(1, epoch=2)], {0: Stamp(LANE, (2, 1))}, {LANE: (1, 900)})

    assert len(passed) == 1


def test_records_without_a_stamp_all_pass() -> None:
    passed, news = fresh([record(1), record(1)], {}, {LANE: (1, 5)})

    assert (len(passed), news) == (2, {})


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_whatever_a_relay_repeats_each_place_is_taken_once_and_in_order(repeats: list[tuple[int, int]]) -> None:
    """Each pair is a relay's run: `back` places repeated, then `on` new ones."""
    published: list[int] = []
    last = 0
    for back, on in repeats:
        published += range(max(0, last - back) + 1, last + on + 1)
        last += on

    passed, _ = fresh(*stamps(*published), {})

    assert offsets(passed) == list(range(1, last + 1))
