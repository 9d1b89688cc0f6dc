"""Today's contracts break nobody who was told of the released ones; the baseline is the only way to change that."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from deploy.contracts.__main__ import main
from deploy.contracts.baseline import BASELINE, BreaksPromises, read_baseline, release, standing_breaks
from deploy.contracts.promises import promises
from libs.runtime.clock import SystemClock

TODAY = date(2026, 11, 24)


@pytest.fixture
def bolder(tmp_path: Path) -> Path:
    """A baseline that promises one topic more than the code keeps."""
    path = tmp_path / "baseline.json"
    release(TODAY, path=path)
    said = read_baseline(path)
    said["topics"]["more"] = said["topics"]["invoices"]
    path.write_text(json.dumps(said))
    return path


def test_the_code_breaks_nothing_that_was_released() -> None:
    found = standing_breaks(SystemClock().now().date())
    assert [str(one) for one in found] == [], "make it a new version; see docs/decisions/0011-contracts.md"


def test_the_baseline_holds_topics_events_routes_and_examples() -> None:
    baseline = read_baseline()
    assert {name: bool(baseline[name]) for name in promises()} == dict.fromkeys(promises(), True)


def test_what_is_promised_now_breaks_nothing_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    release(TODAY, path=path)
    assert standing_breaks(TODAY, path) == []


def test_a_release_that_breaks_is_refused_and_changes_nothing(bolder: Path) -> None:
    before = bolder.read_text()
    with pytest.raises(BreaksPromises, match="topic more: the topic was removed"):
        release(TODAY, path=bolder)
    assert bolder.read_text() == before


def test_a_release_that_is_meant_to_break_keeps_the_reason_on_record(bolder: Path) -> None:
    release(TODAY, reason="nobody read it", path=bolder)
    assert read_baseline(bolder)["accepted"][-1] == {
        "on": "2026-11-24",
        "reason": "nobody read it",
        "breaks": ["topic more: the topic was removed"],
    }
    assert standing_breaks(TODAY, bolder) == []


def test_the_command_says_that_nothing_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["check"]), capsys.readouterr().out) == (0, "")


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["publish"]), "write | check | release" in capsys.readouterr().out) == (64, True)


def test_the_baseline_is_written_in_the_one_form() -> None:
    text = BASELINE.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
