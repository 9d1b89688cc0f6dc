"""Our copies of windows, and the comparison with what was frozen."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.invoicing.domain.windows import WindowCopy, not_as_frozen, windows_digest
from services.invoicing.errors import WrongDigest
from tests.support.invoicing import copied, frozen_window, totalled

COPIES = [copied("gql_calls", 0, 5), copied("gql_calls", 1, 7), copied("storage_gb", 0, 9)]


def test_a_value_that_does_not_fit_its_digest_is_refused() -> None:
    damaged = totalled("gql_calls", 0, 5).model_copy(update={"value": Decimal(6)})
    with pytest.raises(WrongDigest, match="the digest is not that of 6"):
        WindowCopy.of(damaged)


def test_a_unit_that_is_not_the_metrics_is_refused() -> None:
    with pytest.raises(WrongDigest, match=r"comes in '1', not in 'By\.us'"):
        WindowCopy.of(totalled("gql_calls", 0, 5).model_copy(update={"unit": "By.us"}))


def test_a_fraction_of_a_byte_microsecond_is_refused() -> None:
    with pytest.raises(WrongDigest, match="whole byte-microseconds"):
        WindowCopy.of(totalled("storage_gb", 0, "0.5"))


def test_copies_that_are_all_as_frozen_leave_nothing_open() -> None:
    assert not not_as_frozen([copy.as_frozen for copy in COPIES], COPIES)


@pytest.mark.parametrize("change", [{"seq": 2}, {"store_epoch": 2}, {"digest": "0" * 32}])
def test_a_copy_that_differs_in_any_part_of_its_stamp_is_not_as_frozen(change: dict[str, object]) -> None:
    changed = frozen_window(COPIES[1], **change)
    assert not_as_frozen([COPIES[0].as_frozen, changed, COPIES[2].as_frozen], COPIES) == [changed]


def test_a_window_that_has_not_come_is_not_as_frozen() -> None:
    assert not_as_frozen([copy.as_frozen for copy in COPIES], COPIES[:2]) == [COPIES[2].as_frozen]


@given(st.permutations(COPIES))
def test_the_digest_of_a_frozen_set_does_not_depend_on_its_order(copies: list[WindowCopy]) -> None:
    assert windows_digest(copy.as_frozen for copy in copies) == windows_digest(copy.as_frozen for copy in COPIES)


def test_the_digest_of_a_frozen_set_changes_with_any_window() -> None:
    other = [COPIES[0].as_frozen, COPIES[1].as_frozen, frozen_window(COPIES[2], seq=2)]
    assert windows_digest(other) != windows_digest(copy.as_frozen for copy in COPIES)
