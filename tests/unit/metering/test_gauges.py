from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.gauges import Sample, Span, integrals, level_at
from tests.support.metering import MINUTE_US, NOON_US, QUARTER_US

DAY_US = 24 * 60 * MINUTE_US
HOUR = Span(NOON_US, NOON_US + 4 * QUARTER_US)


def sample(minute: int, level: int, source: str = "s", event_id: str = "1") -> Sample:
    return Sample(NOON_US + minute * MINUTE_US, source, event_id, level)


def test_a_level_holds_until_the_next_sample() -> None:
    found = integrals({"": [sample(0, 10), sample(5, 40)]}, HOUR, DAY_US)
    assert found[NOON_US] == 10 * 5 * MINUTE_US + 40 * 10 * MINUTE_US
    assert found[NOON_US + QUARTER_US] == 40 * QUARTER_US


def test_a_level_before_the_interval_holds_into_it() -> None:
    found = integrals({"": [sample(-600, 7)]}, HOUR, DAY_US)
    assert found == {NOON_US + number * QUARTER_US: 7 * QUARTER_US for number in range(4)}


def test_a_stale_level_counts_no_longer() -> None:
    found = integrals({"": [sample(0, 10)]}, HOUR, 20 * MINUTE_US)
    assert found == {NOON_US: 10 * QUARTER_US, NOON_US + QUARTER_US: 10 * 5 * MINUTE_US}


def test_levels_of_resources_add_up() -> None:
    found = integrals({"a": [sample(0, 1)], "b": [sample(0, 2)]}, HOUR, DAY_US)
    assert found[NOON_US] == 3 * QUARTER_US


def test_of_samples_at_one_time_the_last_by_source_and_id_holds() -> None:
    at_once = [sample(0, 1, "a", "2"), sample(0, 2, "b", "1"), sample(0, 3, "a", "1")]
    assert level_at({"": at_once}, NOON_US, DAY_US) == 2


def test_a_window_at_the_end_of_the_interval_is_integrated_in_part() -> None:
    found = integrals({"": [sample(0, 10)]}, Span(NOON_US, NOON_US + MINUTE_US), DAY_US)
    assert found == {NOON_US: 10 * MINUTE_US}


def test_a_level_of_zero_leaves_no_window() -> None:
    assert integrals({"": [sample(0, 0)]}, HOUR, DAY_US) == {}


def test_there_is_no_level_before_the_first_sample_nor_once_it_is_stale() -> None:
    samples = {"": [sample(0, 10)]}
    assert level_at(samples, NOON_US - 1, DAY_US) == 0
    assert level_at(samples, NOON_US, DAY_US) == 10
    assert level_at(samples, NOON_US + DAY_US, DAY_US) == 0


SAMPLES = st.lists(
    st.builds(sample, st.integers(-100, 100), st.integers(0, 10**15), st.sampled_from("ab"), st.sampled_from("12")),
    max_size=12,
    unique_by=lambda one: one[:3],
)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_order_in_which_samples_come_changes_nothing(samples: list[Sample], random: object) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert integrals({"": shuffled}, HOUR, DAY_US) == integrals({"": samples}, HOUR, DAY_US)


@given(SAMPLES, st.integers(0, 60 * 60))
def test_an_interval_is_the_sum_of_its_parts(samples: list[Sample], second: int) -> None:
    cut = NOON_US + second * 1_000_000
    halves = [
        integrals({"": samples}, Span(HOUR.start_us, cut), DAY_US),
        integrals({"": samples}, Span(cut, HOUR.end_us), DAY_US),
    ]
    assert sum(sum(half.values()) for half in halves) == sum(integrals({"": samples}, HOUR, DAY_US).values())


@given(SAMPLES)
def test_the_integral_is_what_reading_the_level_every_minute_gives(samples: list[Sample]) -> None:
    read = sum(level_at({"": samples}, NOON_US + minute * MINUTE_US, DAY_US) * MINUTE_US for minute in range(60))
    assert sum(integrals({"": samples}, HOUR, DAY_US).values()) == read
