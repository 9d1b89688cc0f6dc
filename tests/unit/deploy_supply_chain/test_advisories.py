"""An advisory against a pin is open until its package is renewed or somebody accepts it for a time."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from deploy.supply_chain.advisories import (
    Accepted,
    Advisory,
    BadException,
    Pin,
    accepted_of,
    advisories_in,
    judge,
    pins_of,
)

PIN = Pin("leaky", "1.2")
WEAK = Advisory("PYSEC-1", ("CVE-2026-1",), "reads too far", ("1.3",))
LAST_DAY = date(2026, 12, 31)
REPOSITORY = Path(__file__).resolve().parents[3]


def document(**changes: Any) -> dict[str, Any]:
    entry = {
        "id": "PYSEC-1",
        "aliases": ["CVE-2026-1"],
        "summary": None,
        "details": "reads too far\nmore",
        "fixed_in": ["1.3"],
    }
    return {"info": {"version": "1.2"}, "vulnerabilities": [entry | changes]}


def test_every_pin_of_a_lock_file_is_found_with_and_without_a_marker() -> None:
    lock = "a==1.0 \\\n    --hash=sha256:00\nb-c==2.0rc1 ; python_version < '4' \\\n    --hash=sha256:01\n"

    assert pins_of(lock) == [Pin("a", "1.0"), Pin("b-c", "2.0rc1")]


def test_every_package_of_our_lock_file_is_found() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()

    assert len(pins_of(lock)) == sum("==" in line and not line.startswith(" ") for line in lock.splitlines())


def test_what_an_index_says_of_the_version_is_read() -> None:
    assert advisories_in(PIN, document()) == [WEAK]


def test_a_withdrawn_advisory_does_not_count() -> None:
    assert advisories_in(PIN, document(withdrawn="2026-01-01T00:00:00Z")) == []


def test_a_document_of_another_version_says_nothing() -> None:
    assert advisories_in(Pin("leaky", "1.1"), document()) is None


def test_a_version_that_the_index_does_not_know_is_not_taken_for_clean() -> None:
    assert not judge(PIN, None, [], LAST_DAY).known


@pytest.mark.parametrize("named", ["PYSEC-1", "CVE-2026-1"])
def test_an_exception_names_an_advisory_by_any_of_its_ids_up_to_its_last_day(named: str) -> None:
    verdict = judge(PIN, [WEAK], [Accepted("leaky", named, "not reached", LAST_DAY)], LAST_DAY)

    assert (verdict.open, verdict.accepted) == ((), (WEAK,))


@pytest.mark.parametrize(
    ("exception", "today"),
    [
        (Accepted("leaky", "PYSEC-1", "not reached", LAST_DAY), date(2027, 1, 1)),
        (Accepted("other", "PYSEC-1", "not reached", LAST_DAY), LAST_DAY),
        (Accepted("leaky", "PYSEC-2", "not reached", LAST_DAY), LAST_DAY),
    ],
    ids=["the day after", "another package", "another advisory"],
)
def test_any_other_exception_leaves_it_open(exception: Accepted, today: date) -> None:
    assert judge(PIN, [WEAK], [exception], today).open == (WEAK,)


@pytest.mark.parametrize(
    "entry",
    [
        "- {package: a, advisory: b, reason: c}",
        "- {package: a, advisory: b, reason: ' ', until: 2026-12-31}",
        "- {package: a, advisory: b, reason: c, until: soon}",
        "- a",
    ],
    ids=["no date", "no reason", "no real date", "no fields"],
)
def test_an_exception_that_is_not_whole_is_refused(entry: str) -> None:
    with pytest.raises(BadException):
        accepted_of(entry)


def test_the_exceptions_that_ship_are_whole() -> None:
    assert isinstance(accepted_of((REPOSITORY / "deploy/supply_chain/exceptions.yaml").read_text()), list)
