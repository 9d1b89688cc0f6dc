"""The CloudEvents 1.0 profile of Maestro: binary mode on Kafka, all three modes over HTTP.

Source: CloudEvents 1.0.2, its JSON format, HTTP and Kafka bindings. Attribute names are lower case; `time` must carry
its offset; `id` and `source` are compared as they are, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from libs.runtime.errors import Rejected
from libs.schemas.values import aware

SPEC_VERSION: Final = "1.0"
MAX_ATTRIBUTE_CHARS: Final = 1024  # keeps ids and sources indexable; the longest seen in the wild are URIs of 200
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"


_ATTRIBUTE: Final = {"type": "string", "minLength": 1, "maxLength": MAX_ATTRIBUTE_CHARS}
JSON_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "CloudEvent",
    "description": "An event in the structured mode (CloudEvents 1.0.2, JSON format, section 3); other attributes are "
    "extensions.",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": SPEC_VERSION},
        "id": _ATTRIBUTE,
        "source": _ATTRIBUTE,
        "type": _ATTRIBUTE,
        "subject": {"anyOf": [_ATTRIBUTE, {"type": "null"}]},
        "time": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "data": {},
    },
}


class BadEvent(Rejected):
    """Not a CloudEvent that we can take; the detail names the attribute."""

    code = "bad_event"
    title = "The event is not a CloudEvents 1.0 event"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event's attributes and its data, still as it came (`data` is what JSON gave, or bytes)."""

    id: str
    source: str
    type: str
    subject: str | None
    time: datetime | None
    data: object


def _text(attributes: Mapping[str, object], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise BadEvent(f"`{name}` must be a non-empty string")
    if len(value) > MAX_ATTRIBUTE_CHARS or "\x00" in value:
        raise BadEvent(f"`{name}` must have at most {MAX_ATTRIBUTE_CHARS} characters and no NUL")
    return value


def _optional(attributes: Mapping[str, object], name: str) -> str | None:
    return None if attributes.get(name) is None else _text(attributes, name)


def time_of(text: str | None) -> datetime | None:
    """Return the RFC 3339 instant in `text`, None without one; raise BadEvent otherwise."""
    if text is None:
        return None
    try:
        return aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise BadEvent(
            f"`time` must be an RFC 3339 time with an offset, such as 2026-11-24T10:00:00Z: {error}"
        ) from error


def event_of(attributes: Mapping[str, object], data: object) -> CloudEvent:
    """Return the event of these attributes; raise BadEvent naming the first that is wrong."""
    if attributes.get("specversion") != SPEC_VERSION:
        raise BadEvent('`specversion` must be "1.0"')
    return CloudEvent(
        id=_text(attributes, "id"),
        source=_text(attributes, "source"),
        type=_text(attributes, "type"),
        subject=_optional(attributes, "subject"),
        time=time_of(_optional(attributes, "time")),
        data=data,
    )


def structured(document: object) -> CloudEvent:
    """Return the event in a JSON object of the structured mode, or one member of a batch."""
    if not isinstance(document, dict):
        raise BadEvent("an event is a JSON object")
    if "data_base64" in document:
        raise BadEvent("`data_base64` carries no usage; send JSON in `data`")
    return event_of(document, document.get("data"))


def binary(headers: Iterable[tuple[str, str]], data: object, *, prefix: str = "ce-") -> CloudEvent:
    """Return the event of the binary mode: attributes are headers starting with `prefix` (HTTP ce-, Kafka ce_).

    Raises BadEvent for one that is said twice: whoever checked it before us may have read the other.
    """
    said = [(name[len(prefix) :].lower(), value) for name, value in headers if name.lower().startswith(prefix)]
    attributes = dict(said)
    if len(attributes) < len(said):
        raise BadEvent("an attribute of the event is said in two headers")
    return event_of(attributes, data)
