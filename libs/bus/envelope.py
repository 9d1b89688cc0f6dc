"""CloudEvents 1.0 on Kafka, binary mode: attributes are `ce_*` headers, the value is the JSON of `data`.

Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2. Extensions `maestroepoch` and `maestroseq` say the
place of an event among all that its producer sent to the partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

from pydantic import ValidationError

from libs.bus.records import Headers, Message, Record
from libs.runtime.errors import Broken
from libs.runtime.names import service_source
from libs.runtime.strict_json import NotStrictJson, require_strict
from libs.runtime.tracing import TRACEPARENT, current_traceparent
from libs.schemas import topics
from libs.schemas.cloudevents import SPEC_VERSION, BadEvent, binary
from libs.schemas.events import EventModel
from libs.schemas.values import rfc3339

M = TypeVar("M", bound=EventModel)

PREFIX: Final = "ce_"
ID: Final = "ce_id"
SOURCE: Final = "ce_source"
TYPE: Final = "ce_type"
TIME: Final = "ce_time"
EPOCH: Final = "ce_maestroepoch"
SEQ: Final = "ce_maestroseq"
CONTENT_TYPE: Final = "content-type"
JSON: Final = b"application/json"
HEADER_ROOM_BYTES: Final = 4096  # what headers and framing add to a record, at most


@dataclass(frozen=True, slots=True)
class EventMeta:
    """Who said it, when, and its place: `epoch` and `seq` are None where no relay of ours stamped it."""

    id: str
    source: str
    type: str
    subject: str | None
    time: datetime | None
    traceparent: str | None
    epoch: int | None
    seq: int | None


@dataclass(frozen=True, slots=True)
class Received(Generic[M]):
    """One event as a handler gets it."""

    data: M
    meta: EventMeta
    record: Record


def event_headers(topic: str, event: EventModel, *, key: str) -> Headers:
    """Return what is known when an event is said: source, type, subject, trace. Raises Broken outside the registry.

    The topic's owner is the source: only it publishes there. The subject is the key.
    """
    spec = topics.topic(topic)
    if event.TYPE not in spec.types:
        raise Broken(f"{event.TYPE} is not among the types of topic {topic} in proto/topics/{topic}.yaml")
    headers = [
        (PREFIX + "specversion", SPEC_VERSION.encode("ascii")),
        (SOURCE, service_source(spec.owner).encode("utf-8")),
        (TYPE, event.TYPE.encode("utf-8")),
        (PREFIX + "subject", key.encode("utf-8")),
        (CONTENT_TYPE, JSON),
    ]
    traceparent = current_traceparent()
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode("ascii")))
    return tuple(headers)


def event_value(topic: str, event: EventModel) -> bytes:
    """Return the JSON of `event`; raise Broken where the topic cannot carry it (it would block the relay for ever)."""
    value = event.model_dump_json().encode("utf-8")
    bound = topics.topic(topic).max_record_bytes - HEADER_ROOM_BYTES
    if len(value) > bound:
        raise Broken(f"{event.TYPE} has {len(value)} bytes; topic {topic} takes {bound}: split the event")
    return value


def event_message(topic: str, event: EventModel, *, key: str, event_id: UUID, at: datetime) -> Message:
    """Return an event that goes out without an outbox row: an upsert that carries its own sequence."""
    own = ((ID, str(event_id).encode("ascii")), (TIME, rfc3339(at).encode("ascii")))
    return Message(topic, key.encode("utf-8"), event_value(topic, event), own + event_headers(topic, event, key=key))


def meta_of(record: Record) -> EventMeta:
    """Return the attributes of `record`; raise BadEvent naming the first that is missing or wrong."""
    try:
        headers = {name: value.decode("utf-8") for name, value in record.headers if value is not None}
        epoch, seq = (int(headers[name]) if name in headers else None for name in (EPOCH, SEQ))
    except ValueError as error:
        raise BadEvent(f"a header cannot be read: {error}") from error
    event = binary(headers.items(), None, prefix=PREFIX)
    return EventMeta(
        event.id, event.source, event.type, event.subject, event.time, headers.get(TRACEPARENT), epoch, seq
    )


def decode(record: Record, model: type[M], meta: EventMeta | None = None) -> Received[M]:
    """Return the event in `record` as `model`; raise BadEvent where its data does not fit or says a name twice."""
    value = record.value or b""
    try:
        require_strict(value)  # a microsecond in ten: pydantic takes the last of two equal names
        data = model.model_validate_json(value)
    except NotStrictJson as error:
        raise BadEvent(f"{model.TYPE}: data: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "data"
        raise BadEvent(f"{model.TYPE}: {where}: {first['msg']}") from error
    return Received(data, meta or meta_of(record), record)
