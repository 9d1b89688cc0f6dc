"""The offsets of consumer groups as the broker keeps them, and what goes with them.

Beside the offset of a consumer with a store lies its store's mark (`libs.bus.marks`); beside that of one without, the
topic's id and the append time of the last record. aiokafka asks for these only as a member of the group.

Source: Kafka protocol guide (OffsetFetch, OffsetCommit).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final
from uuid import UUID

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from libs.bus.kafka.untyped import FromAiokafka
from libs.bus.marks import Mark, mark_of
from libs.bus.ports import Committed, GroupInUse
from libs.bus.records import TopicPartition

_ALL_PARTITIONS: Final = None
_NONE: Final = "-"
_NO_OFFSET: Final = -1  # what the broker answers for a partition of which it keeps nothing
_HAS_MEMBERS: Final = (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError)
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
    for code in await _commit(client, group, by_topic):
        _refuse(code)


def metadata_of(mark: Committed) -> str:
    """Return what is kept beside the offset: `<topic id> <append time in ms>`, a dash for what is not known."""
    topic_id = _NONE if mark.topic_id is None else str(mark.topic_id)
    return f"{topic_id} {_NONE if mark.appended_at_ms is None else mark.appended_at_ms}"


def committed_of(offset: int, metadata: str | None) -> Committed:
    """Return what was committed; metadata that is not ours (an operator's tool writes its own) says nothing."""
    topic_id, _, appended = (metadata or "").partition(" ")
    try:
        return Committed(
            offset, None if topic_id == _NONE else UUID(topic_id), None if appended == _NONE else int(appended)
        )
    except ValueError:
        return Committed(offset)


async def fetch_committed(
    client: FromAiokafka, group: str, topic: str, partitions: Collection[int]
) -> Mapping[int, Committed]:
    """Return how far the group is, for those partitions of which the broker keeps that. Raises KafkaError."""
    answer = await _ask_coordinator(client, group, OffsetFetchRequest(group, [(topic, sorted(partitions))]))
    _refuse(getattr(answer, "error_code", 0))
    found: dict[int, Committed] = {}
    for _, rows in answer.topics:
        for partition, offset, metadata, code in rows:
            _refuse(code)
            if offset != _NO_OFFSET:
                found[partition] = committed_of(offset, metadata)
    return found


async def set_committed(client: FromAiokafka, group: str, topic: str, marks: Mapping[int, Committed]) -> None:
    """Set how far a group without members is. Raises GroupInUse, or KafkaError."""
    rows = [(partition, mark.next, metadata_of(mark)) for partition, mark in sorted(marks.items())]
    for code in await _commit(client, group, {topic: rows}):
        if for_code(code) in _HAS_MEMBERS:
            raise GroupInUse(f"{group} has members: stop its processes, wait ten seconds, and try again")
        _refuse(code)


async def _commit(client: FromAiokafka, group: str, rows: Mapping[str, list[tuple[int, int, str]]]) -> Iterable[int]:
    """Commit (partition, offset, metadata) by topic in nobody's name; return the broker's error codes."""
    request = OffsetCommitRequest(
        group,
        OffsetCommitRequest.DEFAULT_GENERATION_ID,
        _NOBODYS,
        OffsetCommitRequest.DEFAULT_RETENTION_TIME,
        list(rows.items()),
    )
    answer = await _ask_coordinator(client, group, request)
    return [code for _, partitions in answer.topics for _, code in partitions]


async def _ask_coordinator(client: FromAiokafka, group: str, request: FromAiokafka) -> FromAiokafka:
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    return await client.send(node, request, group=ConnectionGroup.COORDINATION)


def _refuse(code: int) -> None:
    if code:
        raise for_code(code)(f"the coordinator answers with error {code}")
