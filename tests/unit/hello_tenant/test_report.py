from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console

from samples.hello_tenant.ledger import Ledger, Row
from samples.hello_tenant.report import show_ledger, show_refusals
from samples.hello_tenant.screen import Screen

REFUSAL: dict[str, Any] = {
    "tenant_id": "tnt_a",
    "limit": "qps",
    "status": 429,
    "headers": {
        "content-type": "application/problem+json",
        "retry-after": "1",
        "ratelimit": '"qps";r=0;t=1',
        "ratelimit-policy": '"qps";q=50;w=1',
    },
    "body": {"error": "quota_exceeded", "status": 429, "retryAfter": 1},
    "waited_s": 1.01,
    "status_after": 200,
}


@dataclass
class Held:
    """What was said to hold, and what not."""

    verdicts: list[bool] = field(default_factory=list)

    def __call__(self, is_true: bool, _text: str) -> None:
        self.verdicts.append(is_true)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(output: io.StringIO) -> Screen:
    return Screen(Console(file=output))


def test_a_complete_refusal_holds_and_is_shown_as_it_came(screen: Screen, output: io.StringIO) -> None:
    held = Held()
    show_refusals(held, screen, [REFUSAL])
    assert held.verdicts == [True, True, True]
    assert "retry-after: 1" in output.getvalue()
    assert '"error": "quota_exceeded"' in output.getvalue()


def test_a_demo_without_a_refusal_does_not_hold(screen: Screen) -> None:
    held = Held()
    show_refusals(held, screen, [])
    assert held.verdicts == [False]


@pytest.mark.parametrize("header", ["content-type", "retry-after", "ratelimit", "ratelimit-policy"])
def test_a_refusal_that_lacks_a_field_does_not_hold(screen: Screen, header: str) -> None:
    headers = {name: value for name, value in REFUSAL["headers"].items() if name != header}
    held = Held()
    show_refusals(held, screen, [REFUSAL | {"headers": headers}])
    assert held.verdicts == [True, False, True]


@pytest.mark.parametrize("status_after", [429, None])
def test_a_tenant_that_is_not_served_again_does_not_hold(screen: Screen, status_after: int | None) -> None:
    held = Held()
    show_refusals(held, screen, [REFUSAL | {"status_after": status_after}])
    assert held.verdicts == [True, True, False]


def test_the_ledger_marks_the_row_that_does_not_balance(screen: Screen, output: io.StringIO) -> None:
    good = Row("tnt_a", "gql_calls", 5, 4, 1, 4, 4)
    bad = Row("tnt_b", "gql_calls", 5, 4, 1, 3, 3)
    show_ledger(screen, Ledger((good, bad)), {"tnt_a": "Good", "tnt_b": "Bad"})
    lines = output.getvalue().splitlines()
    assert [line.split("│")[-2].strip() for line in lines if "gql_calls" in line] == ["yes", "no"]


def test_a_level_is_shown_to_the_last_byte_microsecond(screen: Screen, output: io.StringIO) -> None:
    row = Row("tnt_a", "storage_gb", 10**24 + 1, 10**24 + 1, 0, 10**24 + 1, 10**24)
    show_ledger(screen, Ledger((row,)), {"tnt_a": "Bad"})
    (line,) = [line for line in output.getvalue().splitlines() if "Bad" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == [str(10**24 + 1), str(10**24 + 1), str(10**24), "no"]
