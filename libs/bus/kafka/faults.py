"""Kafka's errors in our own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from libs.bus import metrics
from libs.bus.ports import OutOfRange
from libs.bus.records import TopicPartition
from libs.runtime.errors import Broken, TooLarge, Unavailable
from libs.schemas.topics import registry

OF_NO_TOPIC: Final = ""  # a group, a name of transactions, or a topic that is none of ours
_FORBIDDEN: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


@contextmanager
def in_our_words(doing: str, topic: str = "") -> Iterator[None]:
    """Turn what aiokafka raises while `doing` into OutOfRange, TooLarge, Broken or (most of it) Unavailable.

    `topic` is what a denial is counted under where the error names none.
    """
    try:
        yield
    except OffsetOutOfRangeError as error:
        asked: dict[tuple[str, int], int] = error.args[0]
        (topic, partition), offset = next(iter(asked.items()))
        raise OutOfRange(TopicPartition(topic, partition), offset) from error
    except (MessageSizeTooLargeError, RecordTooLargeError) as error:
        raise TooLarge(f"{doing}: larger than the topic's max.message.bytes: {error}") from error
    except _FORBIDDEN as error:
        raise denied(f"{doing}: {error!r}", _topics_of(error) or [topic]) from error
    except ProducerFenced as error:
        raise Unavailable(f"{doing}: a newer process speaks in our place") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"{doing}: the broker does not answer: {error!r}") from error


def denied(what: str, topics: Iterable[str] = ()) -> Broken:
    """Count by topic that the broker denies `what`, and return what to raise: it names the file and the verb for it."""
    for topic in topics or [OF_NO_TOPIC]:
        metrics.DENIED.add(1, {"topic": topic if topic in registry() else OF_NO_TOPIC})
    return Broken(
        f"the broker does not allow it: {what}. What a service may do is said in proto/topics/*.yaml; "
        "`maestro bus provision` puts that in force"
    )


def show_no_denial() -> None:
    """Show every topic without a denial yet, so that the first of one is an increase."""
    for topic in (OF_NO_TOPIC, *registry()):
        metrics.DENIED.add(0, {"topic": topic})


def _topics_of(error: KafkaError) -> list[str]:
    named = error.args[0] if error.args and isinstance(error, TopicAuthorizationFailedError) else ()
    return [named] if isinstance(named, str) else [str(one) for one in named]
