"""What strangers wrote moves no cursor, ends no line and turns none around, wherever it is shown."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.logs import JsonLines
from libs.runtime.printable import printable, printable_json

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\u202egpj.exe\u2066c\u200bd\x9b31me\x7ff\r\ng\u2028h\x00i\U000e0041"


def logged(message: str, *args: object, **extra: Any) -> str:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": message, "args": args, **extra})
    return JsonLines("test").format(record)


def test_everything_that_is_not_printed_is_written_out() -> None:
    assert printable(HOSTILE) == (
        r"a\x1b[2J\x1b]0;title\x07b\u202egpj.exe\u2066c\u200bd\x9b31me\x7ff\r\ng\u2028h\x00i\U000e0041"
    )


@pytest.mark.parametrize("text", ["", "Kündigung", "日本語", "[bold]x[/]", "100 %", "naïve 😀"])
def test_what_can_be_printed_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_escaped_json_is_the_same_value(text: str) -> None:
    line = printable_json(json.dumps({"text": text}, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == {"text": text}


@pytest.mark.parametrize(
    "line",
    [
        logged("%s", HOSTILE),
        logged("refused", tenant=HOSTILE),
        logged("refused", **{HOSTILE: 1}),
        logged("refused", nested={"name": [HOSTILE]}),
        logged("%s", ValueError(HOSTILE)),
    ],
    ids=["message", "member", "member's name", "nested member", "error"],
)
def test_a_log_line_stays_one_line_that_a_terminal_only_prints(line: str) -> None:
    assert line.isprintable()
    assert json.loads(line)["level"] == "info"


def test_a_forged_line_inside_a_message_stays_inside_it() -> None:
    line = logged("name: %s", 'x"}\n{"level":"info","message":"all is well"}')
    assert json.loads(line)["message"].endswith('{"level":"info","message":"all is well"}')


@pytest.mark.parametrize("value", ["\ud800", 2**80, {1: "a"}, {"a": object()}, float("nan"), b"\xff"])
def test_what_json_cannot_hold_loses_no_line(value: object) -> None:
    line = logged("kept", strange=value)
    assert json.loads(line)["message"] == "kept"
    assert line.isprintable()


def test_the_text_of_an_exception_is_escaped_too() -> None:
    error = ValueError(HOSTILE)
    line = logged("failed", exc_info=(ValueError, error, None))
    assert line.isprintable()
    assert "ValueError" in json.loads(line)["exception"]
