"""Records that others write: which format each holds, the events in it, and how to say what was refused.

A record is to the router what a request is to an edge: the same reading, the same bounds, the same reasons.

Source: CloudEvents 1.0.2, Kafka binding; the Kafka exporter of the OpenTelemetry Collector (one OTLP message a record,
without headers of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.schemas.cloudevents import BadEvent
from services.metering.domain.bodies import inflate
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.documented import JSON, PROTOBUF
from services.metering.domain.exports import reasons_of
from services.metering.domain.intake import Intake, Taken
from services.metering.domain.modes import media_of, reader_of
from services.metering.domain.spans import from_protobuf
from services.metering.domain.spans_json import from_json
from services.metering.errors import BadBody, BodyTooLarge, UnsupportedMedia

EVENTS_TOPIC: Final = "usage-events"
SPANS_TOPIC: Final = "otlp_spans"

SEVERAL: Final = "several"  # counted by reason, so these are few; the cause names all

_PREFIX: Final = "ce_"
_READ: Final = ("content-type", "content-encoding")
_OBJECT: Final = b"{"  # no protobuf message starts so: the byte would open a group, which OTLP does not have

RawHeaders = Iterable[tuple[str, bytes | None]]
Read = Callable[[Intake, RawHeaders, bytes | None], Taken]
"""Reads the events of one record from its headers and its value; raises Rejected where it holds none at all."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record, or some of its events, were not taken: `reason` is a stable code, `cause` is for people.

    Where several codes apply, the reason is SEVERAL and the cause names each.
    """

    reason: str
    cause: str


def read_events(intake: Intake, raw: RawHeaders, value: bytes | None) -> Taken:
    """Read the CloudEvents of a record in any mode. Without a content type it is JSON: one event, or an array."""
    headers = _headers(raw)
    read = reader_of(media_of(headers.get("content-type", "")) or JSON, list(headers.items()), _PREFIX)
    return read(intake, _body(headers, value))


def read_spans(intake: Intake, raw: RawHeaders, value: bytes | None) -> Taken:
    """Read the spans of an OTLP message. Its encoding is what the content type says, else what the first byte says."""
    headers = _headers(raw)
    body = _body(headers, value)
    media = media_of(headers.get("content-type", ""))
    if not media:
        media = JSON if body.startswith(_OBJECT) else PROTOBUF
    if media not in {JSON, PROTOBUF}:
        raise UnsupportedMedia(f"content-type {media[:64]!r}: write {PROTOBUF} or {JSON}")
    return intake.spans(from_json(body) if media == JSON else from_protobuf(body))


READERS: Final[Mapping[str, Read]] = {EVENTS_TOPIC: read_events, SPANS_TOPIC: read_spans}


def refusal_of(taken: Taken) -> Refusal | None:
    """Return what is to be said of a record of which not all was taken: one refusal for all its refused events."""
    if not taken.rejected:
        return None
    codes = {verdict.reason or "" for verdict in taken.rejected}
    share = f"{len(taken.rejected)} of {len(taken.verdicts)} refused"
    return Refusal(codes.pop() if len(codes) == 1 else SEVERAL, f"{share}: {reasons_of(taken, 'event')}")


def _headers(raw: RawHeaders) -> dict[str, str]:
    """Return the headers that are read here; raise BadEvent where one is no text, or there twice."""
    try:
        said = [
            (name.lower(), (value or b"").decode("utf-8"))
            for name, value in raw
            if name.lower() in _READ or name.lower().startswith(_PREFIX)
        ]
    except UnicodeDecodeError as error:
        raise BadEvent(f"a header is not UTF-8: {error}") from error
    headers = dict(said)
    if len(headers) < len(said):
        raise BadEvent("two headers of the record say the same")
    return headers


def _body(headers: Mapping[str, str], value: bytes | None) -> bytes:
    if value is None:
        if _PREFIX + "specversion" in headers:
            return b""  # an event without data
        raise BadBody("the record has no value")
    if len(value) > BOUNDS.plain_bytes:
        raise BodyTooLarge(f"a record has at most {BOUNDS.plain_bytes} bytes; write several")
    return inflate(value, headers.get("content-encoding", "").strip().lower())
