from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from libs.bus.offsets import Owned
from libs.bus.ports import Seen
from libs.bus.progress import SKEW_BOUND_MS, Progress
from libs.bus.records import TopicPartition

ONE, TWO = TopicPartition("invoices", 0), TopicPartition("invoices", 1)
START = datetime(1970, 1, 1, tzinfo=UTC)


def owned(next_offset: int, appended_at_ms: int | None = None) -> Owned:
    return Owned(UUID(int=1), next_offset, 1, appended_at_ms)


def at_ms(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def test_owning_nothing_there_is_no_watermark_and_no_lag() -> None:
    progress = Progress()

    assert (progress.watermark(), progress.lag()) == (None, {})


def test_caught_up_it_is_the_last_answers_time_less_the_clocks_difference() -> None:
    progress = Progress()
    progress.own({ONE: owned(5)})

    progress.note({ONE: owned(5, 1_000)}, {ONE: 5}, {ONE: Seen(5, 90_000)})

    assert progress.watermark() == at_ms(90_000 - SKEW_BOUND_MS)


def test_behind_it_is_the_last_written_records_time() -> None:
    progress = Progress()
    progress.own({ONE: owned(5)})

    progress.note({ONE: owned(5, 1_000)}, {ONE: 5}, {ONE: Seen(9, 90_000)})

    assert (progress.watermark(), progress.lag()) == (at_ms(1_000), {ONE: 4})


def test_the_slowest_partition_decides() -> None:
    progress = Progress()
    progress.own({ONE: owned(5), TWO: owned(2)})

    both = {ONE: owned(5, 1_000), TWO: owned(2, 2_000)}
    progress.note(both, {}, {ONE: Seen(9, 90_000), TWO: Seen(2, 90_000)})

    assert progress.watermark() == at_ms(1_000)


def test_one_partition_that_never_answered_leaves_it_unknown() -> None:
    progress = Progress()
    progress.own({ONE: owned(5), TWO: owned(2)})

    progress.note({ONE: owned(5, 1_000), TWO: owned(2)}, {}, {ONE: Seen(5, 90_000)})

    assert progress.watermark() is None


def test_offsets_that_hold_no_record_count_as_read() -> None:
    progress = Progress()
    progress.own({ONE: owned(5)})

    progress.note({ONE: owned(5, 1_000)}, {ONE: 8}, {ONE: Seen(8, 90_000)})

    assert progress.lag() == {ONE: 0}
