"""A log is bounded, and its last lines are told."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.logs import LOG_BYTES_MAX, open_log, rotate, short_tail, tail

TRACEBACK = """\
Traceback (most recent call last):
  File "a.py", line 3, in meters_of
    read(text)
    ^^^^
Bad: the meters
  in line 1
"""


def test_the_last_lines_are_told_in_order(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("".join(f"line {number}\n" for number in range(30)))

    assert tail(log, 3) == ["line 27", "line 28", "line 29"]


def test_a_part_without_a_log_has_no_last_lines(tmp_path: Path) -> None:
    assert short_tail(tmp_path / "part.log") == ()


def test_a_summary_has_ten_lines_whose_control_characters_are_written_out(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("\x1b[2Jcleared\n" * 12)

    assert short_tail(log) == (r"\x1b[2Jcleared",) * 10


def test_a_services_line_is_told_in_words_and_a_traceback_by_its_error(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    entry = {
        "time": "2026-11-24T10:46:27.8+00:00",
        "level": "error",
        "logger": "x",
        "message": TRACEBACK,
    }
    log.write_text(json.dumps(entry) + "\n" + json.dumps([1]) + "\n")

    assert short_tail(log) == ("10:46:27 error Bad: the meters in line 1", "[1]")


def test_a_log_below_its_bound_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(b"x" * LOG_BYTES_MAX)

    assert not rotate(log)


def test_a_log_past_its_bound_starts_again_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with open_log(log) as writer:
        writer.write(b"x" * (LOG_BYTES_MAX + 1))
        writer.flush()

        assert rotate(log)
        writer.write(b"after")

    assert log.read_bytes() == b"after"
    assert (tmp_path / "part.log.1").stat().st_size == LOG_BYTES_MAX + 1
