from __future__ import annotations

from decimal import Decimal

import pytest

from services.metering.domain.attributes import MAX_DEPTH, collect, flat, number
from services.metering.domain.events import MAX_ATTRIBUTES, MAX_TEXT_CHARS
from services.metering.errors import BadAttributes


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        (2**53 + 1, 9007199254740993),
        (Decimal("0.1"), "0.1"),
        (Decimal("1E-12"), "0.000000000001"),
        (Decimal("5.0"), 5),
        (Decimal("0.5e1"), 5),
        (Decimal("-0.0"), 0),
        (2**64, "18446744073709551616"),
        (-(2**63), -(2**63)),
    ],
)
def test_a_number_is_taken_without_loss_and_in_one_form(written: int | Decimal, taken: int | str) -> None:
    assert number(written) == taken


@pytest.mark.parametrize("written", [Decimal("1E+99999999999"), Decimal("1e-40"), 10**60, Decimal("NaN")])
def test_a_number_beyond_all_bounds_becomes_short_text(written: int | Decimal) -> None:
    taken = number(written)
    assert isinstance(taken, str)
    assert len(taken) <= 64


def test_nested_fields_get_dotted_names() -> None:
    assert flat({"maestro": {"ingest": {"events": 5}}, "a": None}) == {"maestro.ingest.events": 5, "a": None}


def test_lists_become_canonical_text() -> None:
    assert flat({"tags": [{"b": 1, "a": Decimal("0.10")}]}) == {"tags": '[{"a":"0.10","b":1}]'}


def test_two_fields_that_claim_one_name_are_refused() -> None:
    with pytest.raises(BadAttributes, match=r"maestro\.ingest\.events"):
        flat({"maestro.ingest.events": 1, "maestro": {"ingest": {"events": 2}}})


def test_fields_nested_too_deep_are_refused() -> None:
    nested: dict[str, object] = {"leaf": 1}
    for _ in range(MAX_DEPTH):
        nested = {"a": nested}
    with pytest.raises(BadAttributes, match="nest"):
        flat(nested)


def test_too_many_attributes_are_refused() -> None:
    with pytest.raises(BadAttributes, match=str(MAX_ATTRIBUTES)):
        collect((f"a{index}", 1) for index in range(MAX_ATTRIBUTES + 1))


def test_a_text_over_its_bound_is_refused() -> None:
    with pytest.raises(BadAttributes, match=str(MAX_TEXT_CHARS)):
        collect([("a", "x" * (MAX_TEXT_CHARS + 1))])


def test_texts_over_the_bound_of_an_event_together_are_refused() -> None:
    with pytest.raises(BadAttributes, match="characters"):
        collect((f"a{index}", "x" * MAX_TEXT_CHARS) for index in range(3))


@pytest.mark.parametrize("name", ["", "n" * 257])
def test_a_name_that_is_empty_or_endless_is_refused(name: str) -> None:
    with pytest.raises(BadAttributes, match="name"):
        collect([(name, 1)])
