"""Text of strangers, made safe to show: what could move a cursor, hide, or turn the line around is written out.

Not printable by Unicode are the control characters with the escape sequences of terminals (C0, DEL, C1), format
characters with the bidirectional overrides (Trojan Source, CVE-2021-42574) and the invisible ones, line and paragraph
separators, surrogates, private and unassigned code points, and all spaces but the plain one.
"""

from __future__ import annotations

from typing import Final

_LAST_OF_ONE_UNIT: Final = 0xFFFF  # of UTF-16, in whose units JSON escapes (RFC 8259, section 7)


def printable(text: str) -> str:
    r"""Return `text` in one line, each character that cannot be printed as its Python escape (`\x1b`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_json(line: str) -> str:
    """Return the JSON document `line` with such characters as JSON escapes: another text of the same value."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else _json_escape(char) for char in line)


def _json_escape(char: str) -> str:
    code = ord(char)
    if code <= _LAST_OF_ONE_UNIT:
        return f"\\u{code:04x}"
    units = char.encode("utf-16-be")
    return f"\\u{units[:2].hex()}\\u{units[2:].hex()}"
