"""Metadata request 12: the first that clients may use which tells a topic's id. aiokafka stops at version 5.

Source: Kafka protocol guide (Metadata, version 12), KIP-482 (tagged fields), KIP-516 (topic ids).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_ANY_TOPIC_ID = UUID(int=0)  # "found by name"


class Uuid(AbstractType[UUID]):
    """Sixteen bytes, most significant first."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """Return the wire form."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """Read one."""
        return UUID(bytes=data.read(16))


class MetadataResponse_v12(Response):  # noqa: N801 - named as aiokafka names its wire structs
    """Brokers, and for each topic its error, id and partitions."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequest_v12(RequestStruct):  # noqa: N801 - named as aiokafka names its wire structs
    """Asks for topics by name, and creates none."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse_v12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[MetadataRequest_v12]):
    """What aiokafka's client sends; builds the one version that we know."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        """Take the names to ask for."""
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequest_v12]) -> MetadataRequest_v12:
        """Return the wire struct."""
        topics: list[Any] = [(_ANY_TOPIC_ID, name, {}) for name in self._topics]
        return request_struct_class(topics, False, False, {})
