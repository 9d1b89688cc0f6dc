"""Letters as people and scripts read them. What others wrote is escaped: it may hold control characters."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from libs.bus.deadletters.register import Entry, Taken
from libs.bus.deadletters.replay import Verdict
from libs.bus.records import Record
from libs.runtime.printable import printable
from libs.schemas.values import rfc3339

PREVIEW_BYTES: Final = 600  # of a value, on a screen
CAUSE_CHARS: Final = 60  # in a list


def reference(service: str, entry: Entry) -> str:
    """Return the name that verbs know the letter by."""
    return f"{service}/{entry.id}"


def line(service: str, entry: Entry) -> str:
    """Return the letter in one line."""
    where = f"{entry.topic}[{entry.partition}]@{entry.offset}"
    cause = printable(entry.cause)
    cause = cause if len(cause) <= CAUSE_CHARS else cause[: CAUSE_CHARS - 3] + "..."
    return (
        f"{reference(service, entry):<16} {entry.dead_at:%FT%TZ}  {entry.state:<9} {entry.consumer:<20} {where:<32} "
        f"{entry.reason}: {cause}"
    )


def verdict_line(service: str, verdict: Verdict) -> str:
    """Return what became of the letter in one line."""
    why = f": {printable(verdict.why)}" if verdict.why else ""
    return f"{reference(service, verdict.entry):<16} {verdict.outcome}{why}"


def page(service: str, entry: Entry, record: Record | None, steps: Sequence[Taken]) -> list[str]:
    """Return all that is known of the letter, a line each."""
    rows = [
        ("letter", f"{reference(service, entry)}, {entry.state} since {entry.dead_at:%FT%TZ}"),
        ("record", f"{entry.topic}[{entry.partition}] at {entry.offset}, appended {entry.appended_at:%FT%TZ}"),
        ("consumer", entry.consumer),
        ("reason", entry.reason),
        ("cause", entry.cause),
        ("trace", entry.trace_id or "none"),
        ("digest", f"sha256:{entry.digest}, {entry.size_bytes} bytes"),
        *([("taken", f"{entry.taken_at:%FT%TZ}, by its consumer")] if entry.taken_at else []),
        *((step.step, f"{step.at:%FT%TZ} by {step.by}: {step.reason}") for step in steps),
    ]
    if record is None:
        rows.append(("payload", "gone: neither the dead letter topic nor the topic holds it any more"))
    else:
        rows.append(("key", _preview(record.key)))
        rows += [("header", f"{name} = {_preview(value)}") for name, value in record.headers]
        rows.append(("value", _preview(record.value)))
    return [f"{name:<9} {printable(text)}" for name, text in rows]


def document(service: str, entry: Entry) -> dict[str, Any]:
    """Return the letter for a script."""
    return {
        "letter": reference(service, entry),
        "state": entry.state,
        "consumer": entry.consumer,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "reason": entry.reason,
        "cause": entry.cause,
        "trace_id": entry.trace_id,
        "digest": entry.digest,
        "size_bytes": entry.size_bytes,
        "by_reference": entry.by_reference,
        "appended_at": rfc3339(entry.appended_at),
        "dead_at": rfc3339(entry.dead_at),
        "taken_at": None if entry.taken_at is None else rfc3339(entry.taken_at),
    }


def whole_document(service: str, entry: Entry, record: Record | None, steps: Sequence[Taken]) -> dict[str, Any]:
    """Return the letter with its record (bytes as base64, null where it is gone) and what was done with it."""
    taken = [{"step": one.step, "by": one.by, "reason": one.reason, "at": rfc3339(one.at)} for one in steps]
    payload = None
    if record is not None:
        headers = [[name, _base64(value)] for name, value in record.headers]
        payload = {"key": _base64(record.key), "headers": headers, "value": _base64(record.value)}
    return document(service, entry) | {"steps": taken, "payload": payload}


def verdict_document(service: str, verdict: Verdict) -> dict[str, Any]:
    """Return what became of the letter for a script."""
    return {"letter": reference(service, verdict.entry), "outcome": verdict.outcome, "why": verdict.why or None}


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode("ascii")


def _preview(content: bytes | None) -> str:
    if content is None:
        return "null"
    shown = content[:PREVIEW_BYTES].decode("utf-8", "backslashreplace")
    rest = len(content) - PREVIEW_BYTES
    return f"{shown} ... and {rest} bytes" if rest > 0 else shown
