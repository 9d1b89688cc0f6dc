"""Kafka's errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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

_FORBIDDEN = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


@contextmanager
def in_our_words(doing: str) -> Iterator[None]:
    """Turn what aiokafka raises while `doing` into OutOfRange, TooLarge, Broken or (most of it) Unavailable."""
    try:
        yield
    except OffsetOutOfRangeError as error:
        asked: dict[tuple[str, int], int] = error.args[0]
        (topic, partition), offset = next(iter(asked.items()))
        raise OutOfRange(TopicPartition(topic, partition), offset) from error
    except (MessageSizeTooLargeError, RecordTooLargeError) as error:
        raise TooLarge(f"{doing}: larger than the topic's max.message.bytes: {error}") from error
    except _FORBIDDEN as error:
        raise Broken(denial(f"{doing}: {error!r}")) from error
    except ProducerFenced as error:
        raise Unavailable(f"{doing}: a newer process speaks in our place") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"{doing}: the broker does not answer: {error!r}") from error


def denial(what: str) -> str:
    """Count that the broker denies `what`; return what is said: which file decides, which verb puts it in force."""
    metrics.DENIED.add(1)
    return (
        f"the broker does not allow it: {what}. What a service may do is said in proto/topics/*.yaml; "
        "`maestro bus provision` puts that in force"
    )
