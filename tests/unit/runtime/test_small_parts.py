from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime import paging
from libs.runtime.clock import ManualClock
from libs.runtime.errors import Broken
from libs.runtime.logs import JsonLines
from libs.runtime.settings import secret_from

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40),
        min_size=2,
        max_size=2,
    )
)
def test_a_cursor_comes_back_as_the_key_it_was_made_of(key: list[str]) -> None:
    assert paging.decode_cursor(paging.encode_cursor(key), parts=2) == key


@pytest.mark.parametrize(
    "cursor", ["", "!!!", "bnVsbA", "WzFd", "WyJhIl0", "Ww" * 4000, paging.encode_cursor(["a", "\x00"])]
)
def test_a_cursor_that_we_did_not_give_is_refused(cursor: str) -> None:
    with pytest.raises(paging.MalformedCursor):
        paging.decode_cursor(cursor, parts=2)


ROWS = [(NOON + timedelta(minutes=number), f"row {number}") for number in range(3)]


def test_a_page_holds_as_many_as_asked_and_its_cursor_leads_behind_the_last_shown() -> None:
    page = paging.page_of(ROWS, 2, lambda row: row[1], lambda row: row)
    assert page.items == ["row 0", "row 1"]
    assert paging.place_of(page.next_cursor, paging.moment, str) == ROWS[1]


@pytest.mark.parametrize("limit", [3, 4])
def test_a_page_with_nothing_behind_it_is_the_last(limit: int) -> None:
    page = paging.page_of(ROWS, limit, lambda row: row[1], lambda row: row)
    assert (len(page.items), page.next_cursor) == (3, None)


def test_the_first_page_has_no_place() -> None:
    assert paging.place_of(None, str) is None


@pytest.mark.parametrize("first", ["yesterday", "2026-11-24T10:00:00", "0001-01-01T00:00:00+14:00", "10000-01-01"])
def test_a_cursor_whose_time_is_none_of_ours_is_refused(first: str) -> None:
    with pytest.raises(paging.MalformedCursor):
        paging.place_of(paging.encode_cursor([first, "row"]), paging.moment, str)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(paging.MalformedCursor):
        paging.place_of(paging.encode_cursor(["starter"]), paging.moment, str)


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(NOON)
    clock.advance(timedelta(seconds=90))
    clock.step(timedelta(hours=-1))
    assert clock.now() == NOON + timedelta(seconds=90) - timedelta(hours=1)
    assert clock.monotonic() == 90


def test_a_clock_refuses_a_naive_start() -> None:
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - the naive time is what is refused


def test_a_secret_file_loses_only_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" p w\n")
    assert secret_from(path) == " p w"


def test_a_missing_secret_file_is_named_with_a_command(tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"gone.*maestro doctor"):
        secret_from(tmp_path / "gone")


def test_a_log_line_is_one_json_object_without_control_characters() -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "a\nb\x1b[31m", "tenant": "tnt_1"})
    line = JsonLines("quota").format(record)
    assert orjson.loads(line)["tenant"] == "tnt_1"
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_crash_point_kills_once_and_never_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    program = "from libs.runtime.crashpoints import crash_point; crash_point('other'); crash_point('here'); print('on')"
    run = [sys.executable, "-c", program]
    environment = {"MAESTRO_CRASH_AT": f"here:{marker}", "PYTHONPATH": "."}
    first = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    second = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stdout) == (-9, "")
    assert (second.returncode, second.stdout) == (0, "on\n")
