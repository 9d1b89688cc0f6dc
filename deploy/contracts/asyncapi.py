"""The AsyncAPI 3.1 document of all topics: channels, who sends and receives what, messages and their schemas.

Source: AsyncAPI 3.1.0; Kafka bindings 0.5.0; CloudEvents 1.0.2, Kafka protocol binding, section 3.2 (binary mode).
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from deploy.contracts.event_schemas import GENERATED, component_schemas
from libs.bus.deadletters import letter
from libs.runtime.names import service_source
from libs.schemas.events import EVENT_MODELS, MODEL_OF_TYPE, EventModel
from libs.schemas.topics import TopicSpec, dead_letter_spec, registry

Json = dict[str, Any]

BINDING_VERSION: Final = "0.5.0"
DEAD_LETTER: Final = "dead-letter"
_TEXT: Final[Json] = {"type": "string"}
_HEADERS: Final[Json] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "content-type"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "the same in every copy of the event"},
        "ce_source": {"type": "string", "format": "uri"},
        "ce_type": _TEXT,
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_subject": {"type": "string", "description": "the record's key"},
        "ce_maestroepoch": {"type": "string", "pattern": "^[0-9]+$", "description": "of the relay that said it"},
        "ce_maestroseq": {"type": "string", "pattern": "^[0-9]+$", "description": "its place in the partition"},
        "content-type": {"const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C Trace Context"},
    },
}
_NUMBER_TEXT: Final[Json] = {"type": "string", "pattern": "^[0-9]+$"}
_DEAD_LETTER_HEADERS: Final[Json] = {
    "type": "object",
    "description": "the headers of the record as it came, where it lay, and why it was set aside",
    "required": [letter.REASON, letter.CONSUMER, letter.TOPIC, letter.PARTITION, letter.OFFSET],
    "properties": {
        letter.REASON: {"type": "string", "description": "a stable code"},
        letter.CAUSE: {"type": "string", "description": "what was wrong, for people"},
        letter.CONSUMER: _TEXT,
        letter.TOPIC: _TEXT,
        letter.PARTITION: _NUMBER_TEXT,
        letter.OFFSET: _NUMBER_TEXT,
        letter.TRACE_ID: _TEXT,
    },
}


def asyncapi() -> Json:
    """Return the document."""
    specs = list(registry().values())
    dead = [dead_letter_spec(spec) for spec in specs if spec.dead_letter]
    return {
        "asyncapi": "3.1.0",
        "x-generated": GENERATED,
        "info": {
            "title": "Maestro events",
            "version": "1",
            "description": "CloudEvents 1.0 on Apache Kafka, binary mode. A type is added to, never changed; a new "
            "meaning is a new version.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec) for spec in (*specs, *dead)},
        "operations": {
            name: operation
            for spec in specs
            for name, operation in (_operations(spec) | _dead_letter_operations(spec)).items()
        },
        "components": {"messages": _messages(specs), "schemas": component_schemas()},
    }


def _channel(spec: TopicSpec) -> Json:
    config = spec.kafka_config()
    settings: Json = {"cleanup.policy": [config["cleanup.policy"]]}
    settings |= {name: int(config[name]) for name in ("retention.ms", "max.message.bytes") if name in config}
    binding = {"topic": spec.name, "partitions": spec.partitions, "topicConfiguration": settings}
    return {
        "address": spec.name,
        "description": spec.purpose,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(spec)},
        "bindings": {"kafka": binding | {"bindingVersion": BINDING_VERSION}},
        "x-owner": spec.owner,
    }


def _message_names(spec: TopicSpec) -> tuple[str, ...]:
    if not spec.dead_letter:
        return (DEAD_LETTER,)
    return spec.types or (spec.name,)


def _operations(spec: TopicSpec) -> Json:
    writes = {one: f"{one} writes in place of {spec.owner}" for one in spec.producers}
    writes = writes or {spec.owner: f"{spec.owner} says what it owns"}
    senders = {f"{one}.sends.{spec.name}": _operation("send", spec.name, why) for one, why in writes.items()}
    readers = {f"{one}.receives.{spec.name}": _operation("receive", spec.name, one) for one in spec.consumers}
    return senders | readers


def _dead_letter_operations(spec: TopicSpec) -> Json:
    if not spec.dead_letter:
        return {}
    letters = dead_letter_spec(spec)
    name = letters.name
    senders = {f"{one}.sends.{name}": _operation("send", name, f"{one} sets aside") for one in letters.producers}
    readers = {f"{one}.receives.{name}": _operation("receive", name, f"{one} decides") for one in letters.consumers}
    return senders | readers


def _operation(action: str, topic: str, summary: str) -> Json:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}, "summary": summary}


def _messages(specs: list[TopicSpec]) -> Json:
    keys = {event_type: spec for spec in specs for event_type in spec.types}
    ours = {model.TYPE: _event(model, keys[model.TYPE]) for model in EVENT_MODELS}
    foreign = {spec.name: _record(spec) for spec in specs if not spec.types}
    return ours | foreign | {DEAD_LETTER: _dead_letter()}


def _event(model: type[EventModel], spec: TopicSpec) -> Json:
    constants = {"ce_type": {"const": model.TYPE}, "ce_source": {"const": service_source(spec.owner)}}
    deprecation = spec.deprecated.get(model.TYPE)
    message = {
        "name": model.TYPE,
        "title": model.__name__,
        "summary": (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " "),
        "contentType": "application/json",
        "headers": _HEADERS | {"properties": _HEADERS["properties"] | constants},
        "payload": {"$ref": f"#/components/schemas/{MODEL_OF_TYPE[model.TYPE].__name__}"},
        "bindings": _key(spec.key),
    }
    return message | ({} if deprecation is None else {"x-deprecated": deprecation.model_dump(mode="json")})


def _record(spec: TopicSpec) -> Json:
    return {"name": spec.name, "summary": spec.format, "bindings": _key(spec.key)}


def _dead_letter() -> Json:
    return {
        "name": DEAD_LETTER,
        "summary": "a record that could not be taken, byte for byte, with the reason in its headers",
        "headers": _DEAD_LETTER_HEADERS,
        "bindings": _key("the key of the record"),
    }


def _key(description: str) -> Json:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": BINDING_VERSION}}
