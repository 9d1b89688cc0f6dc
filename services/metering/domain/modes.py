"""The modes of CloudEvents: binary (attributes in headers), structured, and batches, told apart by the headers.

Source: CloudEvents 1.0.2, HTTP and Kafka bindings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from libs.schemas import cloudevents
from services.metering.domain.bodies import json_of
from services.metering.domain.documented import JSON
from services.metering.domain.intake import Intake, Taken
from services.metering.errors import BadBody, UnsupportedMedia

Pairs = Sequence[tuple[str, str]]


def media_of(content_type: str) -> str:
    """Return the media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def reader_of(media: str, headers: Pairs, prefix: str) -> Callable[[Intake, bytes], Taken]:
    """Return what reads a body in the mode that the headers say; raise UnsupportedMedia for another.

    `headers` have lower-case names; attributes of the binary mode are those that start with `prefix`.
    """
    if any(name == prefix + "specversion" for name, _ in headers):
        return lambda intake, body: intake.binary(headers, _content(media, body), prefix)
    if media == cloudevents.STRUCTURED:
        return lambda intake, body: intake.cloudevents([json_of(body)])
    if media in {cloudevents.BATCH, JSON}:
        return lambda intake, body: intake.cloudevents(_listed(json_of(body), media))
    raise UnsupportedMedia(f"content-type {media[:64]!r}: send {cloudevents.STRUCTURED}, {cloudevents.BATCH} or {JSON}")


def _listed(document: object, media: str) -> list[object]:
    if isinstance(document, list):
        return document
    if media == JSON and isinstance(document, dict):
        return [document]
    raise BadBody("a batch is a JSON array of events")


def _content(media: str, body: bytes) -> object:
    if not body:
        return None
    if media != JSON and not media.endswith("+json"):
        raise UnsupportedMedia(f"content-type {media[:64]!r}: the data of an event in binary mode is JSON")
    return json_of(body)
