"""Shares are max-min fair, what waits is bounded before it is written, and turns are as long as weights say."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.accounts import Accounts, Lags, overflow_partition_of
from services.metering.domain.events import UsageEvent
from services.metering.domain.fairness import LEAST_EVENTS, Bound, level
from services.metering.domain.ledger import Ledger
from services.metering.domain.turns import QUANTUM_EVENTS, Turns
from tests.support.metering import ALICE, BOB, usage

COUNTED = Lags({0: 10}, {0: 10}, {}, {})
demands = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 5)), max_size=20)


def accounts(first: int = 100, *, weights: dict[str, int] | None = None, most_diverted: int = 1_000) -> Accounts:
    return Accounts(first=first, most_diverted=most_diverted, weights=weights or {})


def lot(tenant_id: str, size: int = QUANTUM_EVENTS) -> list[UsageEvent]:
    return [usage(tenant_id=tenant_id)] * size


def test_who_wants_little_gets_it_and_leaves_the_rest_to_the_others() -> None:
    assert level([(10, 1), (inf, 1)], 100) == 45  # and as much again for whoever comes next


def test_a_weight_of_two_gets_twice_the_share() -> None:
    assert 2 * level([(inf, 2)], 90) == 60


@given(demands, st.integers(1, 100_000))
def test_shares_add_up_to_the_capacity_and_nobody_gets_more_than_it_wants(
    wanted: list[tuple[int, int]], capacity: int
) -> None:
    of_one = level(wanted, capacity)
    assert sum(min(count, of_one * weight) for count, weight in wanted) + of_one == pytest.approx(capacity)


def test_room_is_for_whoever_comes_first_and_a_flood_is_held_to_its_share_beyond_it() -> None:
    of = accounts(100)
    assert [of.take(ALICE, 50), of.take(ALICE, 50), of.take(ALICE, 1)] == [True, True, False]


def test_a_tenant_within_its_share_is_taken_however_much_others_wrote() -> None:
    of = accounts(100)
    of.take(ALICE, 100)
    of.divert(ALICE, 10_000, 32)
    assert [of.take(BOB, 30), of.take(BOB, 30)] == [True, False]


def test_a_flood_that_came_within_the_room_takes_no_share_from_those_that_come_later() -> None:
    of = accounts(1_000)
    of.take(ALICE, 1_000)
    later = sum(of.take(BOB, 10) for _ in range(1_000))
    assert 300 <= 10 * later <= 500


def test_a_tenant_of_more_weight_has_more_before_it_is_held_back() -> None:
    light, heavy = accounts(100), accounts(100, weights={BOB: 3})
    light.take(ALICE, 100)
    heavy.take(ALICE, 100)
    assert (light.take(BOB, 60), heavy.take(BOB, 60)) == (False, True)


def test_what_was_counted_makes_room_again() -> None:
    of = accounts(100)
    of.take(ALICE, 100)
    of.acknowledge({ALICE: 100}, {}, 32)
    of.cut(1.0)
    before = of.take(ALICE, 100)
    of.settle(COUNTED, 1.1)
    assert (before, of.take(ALICE, 100)) == (False, True)


def test_what_is_not_acknowledged_stays_open_whatever_is_counted() -> None:
    of = accounts(100)
    of.take(ALICE, 100)
    of.cut(1.0)
    of.settle(COUNTED, 1.1)
    assert (of.waiting, of.is_idle()) == (100, False)


def test_new_usage_leaves_half_of_the_room_to_what_waits_on_usage_overflow() -> None:
    of = accounts(100)
    of.settle(Lags({}, {}, {0: 5}, {0: 4}), 1.0)
    assert [of.take(ALICE, 50), of.take(ALICE, 20), of.take(BOB, 50, has_waited=True)] == [True, False, True]


def test_what_has_waited_goes_on_however_small_the_room_once_nothing_else_is_under_way() -> None:
    of = accounts(1)
    assert (of.take(ALICE, 200), of.take(ALICE, 200, has_waited=True)) == (False, True)


def test_a_tenant_has_too_much_waiting_until_it_is_forwarded_and_its_neighbours_do_not_matter() -> None:
    of, place = accounts(100, most_diverted=50), overflow_partition_of(ALICE, 32)
    of.divert(ALICE, 50, 32)
    of.divert(BOB, 10, 32)
    before = (of.has_too_much(ALICE), of.has_too_much(BOB))
    of.acknowledge({}, {ALICE: 50, BOB: 10}, 32)
    of.cut(1.0)
    of.settle(Lags({}, {}, {place: 1, overflow_partition_of(BOB, 32): 1}, {place: 1}), 1.1)
    assert (before, of.has_too_much(ALICE), of.diverted_tenants()) == ((True, False), False, [BOB])


def test_a_ledger_closes_a_page_only_once_all_ends_behind_it_are_passed() -> None:
    of = Ledger()
    of.begin(ALICE, 7)
    of.acknowledge(ALICE, 7)
    of.cut(3.0)
    halfway = of.settle({0: 4, 1: 2}, {0: 4, 1: 1})
    assert (halfway, of.total) == (None, 7)
    assert (of.settle({0: 9, 1: 9}, {0: 4, 1: 2}), of.total, of.open) == (3.0, 0, Counter())


def test_the_bound_follows_the_delay_and_fades_while_it_is_not_used() -> None:
    bound = Bound(1_000)
    bound.adjust(1.0, 0.5, 900, has_moved=True)
    grown = bound.events
    bound.adjust(2.0, 1.6, 900, has_moved=True)
    cut = bound.events
    bound.adjust(2.5, 1.6, 900, has_moved=True)
    assert (grown, cut, bound.events) == (1_250, 875, 875)
    for second in range(3, 90):
        bound.adjust(second, 9.0, 900, has_moved=False)
    assert bound.events == LEAST_EVENTS


def test_a_bound_that_grew_and_is_not_used_comes_back_to_where_it_began() -> None:
    bound = Bound(1_000, 50_000)
    for second in range(200):
        bound.adjust(second, 0.0, 10, has_moved=True)
    assert bound.events == pytest.approx(1_000)


def test_a_bound_does_not_grow_by_what_nobody_has_counted_yet() -> None:
    bound = Bound(1_000)
    bound.adjust(1.0, 0.0, 900, has_moved=False)
    assert bound.events == 1_000


def test_every_tenant_has_a_turn_before_anybody_has_another() -> None:
    turns = Turns(lambda _: 1)
    for _ in range(3):
        turns.add(lot(ALICE))
    turns.add(lot(BOB))
    order = [[one[0].tenant_id for one in turns.next(lambda *_: True)] for _ in range(3)]
    assert order == [[ALICE, BOB], [ALICE], [ALICE]]
    assert not turns


def test_a_turn_is_as_long_as_the_weight_says_whatever_the_size_of_lots() -> None:
    turns = Turns({ALICE: 3, BOB: 1}.__getitem__)
    for tenant_id in (ALICE, BOB):
        for _ in range(40):
            turns.add(lot(tenant_id, 300))
    passed = Counter(one[0].tenant_id for _ in range(3) for one in turns.next(lambda *_: True))
    assert passed == {ALICE: 30, BOB: 10}


def test_whom_its_share_holds_back_waits_in_its_order_and_holds_back_nobody() -> None:
    turns = Turns(lambda _: 1)
    first, second = lot(ALICE, 1), lot(ALICE, 2)
    turns.add(first)
    turns.add(second)
    turns.add(lot(BOB))
    assert [one[0].tenant_id for one in turns.next(lambda tenant_id, _: tenant_id == BOB)] == [BOB]
    assert turns.next(lambda *_: True) == [first, second]


def test_usage_of_no_event_is_no_turn() -> None:
    turns = Turns(lambda _: 1)
    turns.add([])
    assert not turns
