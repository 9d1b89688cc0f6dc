"""A log is bounded, and its last lines are told."""

from __future__ import annotations

from pathlib import Path

from deploy.local.logs import LOG_BYTES_MAX, open_log, rotate, short_tail, tail


def test_the_last_lines_are_told_in_order(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("".join(f"line {number}\n" for number in range(30)))

    assert tail(log, 3) == ["line 27", "line 28", "line 29"]


def test_a_part_without_a_log_has_no_last_lines(tmp_path: Path) -> None:
    assert short_tail(tmp_path / "part.log") == ()


def test_a_summary_has_ten_lines_without_control_characters(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("\x1b[2Jcleared\n" * 12)

    assert short_tail(log) == (" [2Jcleared",) * 10


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
