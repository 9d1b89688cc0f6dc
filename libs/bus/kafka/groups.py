"""The offsets of consumer groups as the broker keeps them, and the marks that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.marks import Mark, mark_of
from libs.bus.records import TopicPartition

_ALL_PARTITIONS: Final = None
_NOBODYS: Final = ""  # committed by no member: the group has none


async def fetch_marks(client: FromAiokafka, group: str) -> dict[TopicPartition, Mark]:
    """Return the marks that lie with the offsets of `group`; offsets without one are left out."""
    answer = await _ask_coordinator(client, group, OffsetFetchRequest(group, _ALL_PARTITIONS))
    _refuse(getattr(answer, "error_code", 0))
    found: dict[TopicPartition, Mark] = {}
    for topic, partitions in answer.topics:
        for partition, offset, metadata, code in partitions:
            _refuse(code)
            mark = mark_of(offset, metadata)
            if mark is not None:
                found[TopicPartition(topic, partition)] = mark
    return found


async def commit_marks(client: FromAiokafka, group: str, marks: Mapping[TopicPartition, Mark]) -> None:
    """Commit `marks` for `group`, which has no members."""
    by_topic: dict[str, list[tuple[int, int, str]]] = {}
    for source, mark in sorted(marks.items(), key=lambda pair: pair[0]):
        by_topic.setdefault(source.topic, []).append((source.partition, mark.at, mark.metadata()))
    request = OffsetCommitRequest(
        group,
        OffsetCommitRequest.DEFAULT_GENERATION_ID,
        _NOBODYS,
        OffsetCommitRequest.DEFAULT_RETENTION_TIME,
        list(by_topic.items()),
    )
    answer = await _ask_coordinator(client, group, request)
    for _, partitions in answer.topics:
        for _, code in partitions:
            _refuse(code)


async def _ask_coordinator(client: FromAiokafka, group: str, request: FromAiokafka) -> FromAiokafka:
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    return await client.send(node, request, group=ConnectionGroup.COORDINATION)


def _refuse(code: int) -> None:
    if code:
        raise for_code(code)(f"the coordinator answers with error {code}")
