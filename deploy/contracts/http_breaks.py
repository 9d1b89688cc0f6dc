"""Which changes of an OpenAPI document break a client that was written by the one before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final

from deploy.contracts.narrowing import Shape, lost, narrowed

Json = dict[str, Any]
Found = Iterator[tuple[str, str]]

REMOVABLE_ON: Final = "x-removable-on"  # beside `deprecated: true` of an operation
WINDOW: Final = timedelta(days=90)  # the time that whoever calls a deprecated route has at least, as for event types


def http_breaks(old: Json, new: Json, today: date) -> Found:
    """Yield (where, what) for all services; `old` and `new` hold their documents by name."""
    for service, before in old.items():
        now = new.get(service)
        if now is None:
            yield f"service {service}", "the service was removed"
            continue
        for path, operations in before["paths"].items():
            for method, operation in operations.items():
                where = f"{service} {method.upper()} {path}"
                after = now["paths"].get(path, {}).get(method)
                if after is None:
                    yield from ((where, what) for what in _removed(operation, today))
                    continue
                yield from ((where, what) for what in _deprecated(operation, after, today))
                yield from ((where, what) for what in _changed(before, now, operation, after))


def _removed(operation: Json, today: date) -> Iterator[str]:
    is_over = operation.get("deprecated") and date.fromisoformat(operation[REMOVABLE_ON]) <= today
    if not is_over:
        yield "the route was removed"


def _deprecated(old: Json, new: Json, today: date) -> Iterator[str]:
    """Yield what is wrong with the day on which a deprecated route may go: too near, or nearer than was said."""
    if not new.get("deprecated"):
        return
    removable_on = date.fromisoformat(new[REMOVABLE_ON])
    if old.get("deprecated"):
        if removable_on < date.fromisoformat(old[REMOVABLE_ON]):
            yield f"it may go earlier than was said, on {removable_on}"
    elif removable_on < today + WINDOW:
        yield f"it is deprecated for fewer than {WINDOW.days} days"


def _changed(before: Json, now: Json, old: Json, new: Json) -> Iterator[str]:
    yield from _security(old.get("security", []), new.get("security", []))
    yield from _parameters(before, now, _by_place(old), _by_place(new))
    yield from _request(before, now, old.get("requestBody"), new.get("requestBody"))
    for status, answer in old["responses"].items():
        if status not in new["responses"]:
            yield f"{status} is no longer answered"
            continue
        said = new["responses"][status].get("content", {})
        for media, content in answer.get("content", {}).items():
            if media not in said:
                yield f"{status} no longer comes as {media}"
                continue
            was, is_now = Shape(content.get("schema", {}), before), Shape(said[media].get("schema", {}), now)
            yield from (f"{status}{fault} (in the answer)" for fault in narrowed(was, is_now) + lost(was, is_now))


def _security(old: list[Json], new: list[Json]) -> Iterator[str]:
    if new and not old:
        yield "credentials are needed now"
    for way in old:
        if new and way not in new:
            yield f"credentials of {', '.join(way)} are no longer enough"


def _parameters(before: Json, now: Json, old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    for place, parameter in new.items():
        if parameter.get("required") and not old.get(place, {}).get("required"):
            yield f"{place} must be there now"
    for place, parameter in old.items():
        if place not in new:
            yield f"{place} is no longer looked at"
            continue
        faults = narrowed(Shape(new[place]["schema"], now), Shape(parameter["schema"], before))
        yield from (f"{place}{fault}" for fault in faults)


def _by_place(operation: Json) -> dict[str, Json]:
    return {f"{one['in']} parameter {one['name']}": one for one in operation.get("parameters", [])}


def _request(before: Json, now: Json, old: Json | None, new: Json | None) -> Iterator[str]:
    if new is None:
        if old is not None:
            yield "the body is no longer looked at"
        return
    if new.get("required") and not (old or {}).get("required"):
        yield "a body must be there now"
    for media, content in (old or {"content": {}})["content"].items():
        if media not in new["content"]:
            yield f"a body of {media} is no longer taken"
            continue
        was, is_now = Shape(content.get("schema", {}), before), Shape(new["content"][media].get("schema", {}), now)
        yield from (f"body{fault}" for fault in narrowed(is_now, was) + lost(was, is_now))
