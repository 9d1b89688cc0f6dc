"""Which changes of what was promised break somebody, and which of those may be made.

A topic or event type may go, a route may, and who reads or writes a topic, once that was deprecated in a release and
the day recorded there has come.
Nothing else that breaks may be changed: a new meaning is a new version beside the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from deploy.contracts.http_breaks import http_breaks
from deploy.contracts.narrowing import Shape, lost, narrowed

Json = dict[str, Any]

_FIXED: Final = {
    "owner": "the source of its events, and who may write, is another",
    "key": "what shares a partition, and so what is in order, is another",
    "partitions": "keys move to other partitions: order is lost between what was said before and after",
    "cleanup": "what is kept is another",
    "format": "its records are of another form",
}
_NOT_LOWERED: Final = {
    "retention_h": "what a consumer can come back to is less",
    "max_record_bytes": "records that were taken are refused",
}
_LOGINS: Final = {
    "consumers": "reads it no more: the broker denies its programs of before",
    "producers": "writes to it no more: the broker denies its programs of before",
}


@dataclass(frozen=True, slots=True)
class Break:
    """A change that breaks somebody: where it is, and what it breaks."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def breaks(old: Json, new: Json, today: date) -> list[Break]:
    """Return what `new` breaks of the promises in `old`, without what may go by `today`."""
    return [
        *(
            found
            for name, topic in old["topics"].items()
            for found in _topic(name, topic, new["topics"].get(name), today)
        ),
        *_events(old, new, today),
        *(Break(where, what) for where, what in http_breaks(old["http"], new["http"], today)),
        *_examples(old["examples"], new["examples"]),
    ]


def _topic(name: str, old: Json, new: Json | None, today: date) -> Iterator[Break]:
    where = f"topic {name}"
    if new is None:
        if not old["types"] or any(not _may_go(old, event_type, today) for event_type in old["types"]):
            yield Break(where, "the topic was removed")
        return
    yield from (Break(where, what) for what in (*_fields(old, new), *_logins(old, new, today)))
    if old["dead_letter"] and not new["dead_letter"]:
        yield Break(where, "what cannot be read is no longer set aside")
    for event_type in old["types"]:
        if event_type not in new["types"] and not _may_go(old, event_type, today):
            yield Break(where, f"{event_type} is no longer said there")


def _fields(old: Json, new: Json) -> Iterator[str]:
    for field, why in _FIXED.items():
        if old.get(field) != new.get(field):
            yield f"{field} changed from {old.get(field)!r} to {new.get(field)!r}: {why}"
    for field, why in _NOT_LOWERED.items():
        before, now = old.get(field), new.get(field)
        if now is not None and (before is None or now < before):
            yield f"{field} is now {now!r}, not {before!r}: {why}"


def _logins(old: Json, new: Json, today: date) -> Iterator[str]:
    for field, why in _LOGINS.items():
        gone = set(old.get(field, ())) - set(new.get(field, ()))
        yield from (f"{field}: {name} {why}" for name in sorted(gone) if not _may_go(old, name, today))


def _events(old: Json, new: Json, today: date) -> Iterator[Break]:
    for event_type, before in old["events"].items():
        now = new["events"].get(event_type)
        if now is None:
            if not any(_may_go(topic, event_type, today) for topic in old["topics"].values()):
                yield Break(f"event {event_type}", "the type was removed")
            continue
        yield from (Break(f"event {event_type}", what) for what in event_breaks(before, now))


def event_breaks(old: Json, new: Json) -> list[str]:
    """Return what breaks between two shapes of one event type: it must be readable in both directions."""
    before, now = Shape(old, old), Shape(new, new)
    return [
        *(f"data{fault} (what was said before cannot be read now)" for fault in narrowed(now, before)),
        *(f"data{fault} (who reads by the shape from before refuses it)" for fault in narrowed(before, now)),
        *(f"data{fault}" for fault in lost(before, now)),
    ]


def _may_go(topic: Json, name: str, today: date) -> bool:
    """Whether the release in which the topic stood so said that this type or login goes, and the day has come."""
    deprecation = topic.get("deprecated", {}).get(name)
    return deprecation is not None and date.fromisoformat(deprecation["removable_on"]) <= today


def _examples(old: dict[str, str], new: dict[str, str]) -> Iterator[Break]:
    for path, digest in old.items():
        if new.get(path) != digest:
            yield Break(path, "a golden example was removed" if path not in new else "a golden example was changed")
