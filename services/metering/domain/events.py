"""A usage event as metering carries it from the edge to the shard owner."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from libs.schemas.cloudevents import MAX_ATTRIBUTE_CHARS
from libs.schemas.values import GRAIN, MICROSECOND

MAX_ATTRIBUTES: Final = 256  # twice what a stock OpenTelemetry SDK lets a span have
MAX_NAME_CHARS: Final = 256
MAX_TEXT_CHARS: Final = 8192  # a GraphQL document fits; bodies do not belong in usage

# The bounds hold where a record of usage-shards is decoded, too: msgspec checks them as it goes.
Key: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_ATTRIBUTE_CHARS)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
Scalar: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)] | int | bool | None
Attributes: TypeAlias = Annotated[dict[Name, Scalar], msgspec.Meta(max_length=MAX_ATTRIBUTES)]

GRAIN_US: Final = GRAIN // MICROSECOND


class Kind(IntEnum):
    """What the event came as. Span kinds keep their OTLP numbers; 0, which OTLP calls unspecified, is an event."""

    CLOUDEVENT = 0
    SPAN_INTERNAL = 1
    SPAN_SERVER = 2
    SPAN_CLIENT = 3
    SPAN_PRODUCER = 4
    SPAN_CONSUMER = 5
    SPAN_UNSPECIFIED = 6


class UsageEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event. Field order is the wire order of usage-shards: fields are appended, never moved (see records.py).

    key: 128 bits of (tenant, source, id). digest: 64 bits of what must be the same in a copy. time_us: microseconds
    since 1970 in UTC. time_stamped: the sender gave no time and the edge stamped its own.
    proto/records/usage-shards holds the bytes of every version.
    """

    key: Key
    digest: int
    tenant_id: Text
    source: Text
    id: Text
    type: Text
    kind: Kind
    time_us: int
    time_stamped: bool
    attributes: Attributes

    @property
    def window_us(self) -> int:
        """Start of the quarter of an hour that holds the event, in microseconds since 1970."""
        return self.time_us - self.time_us % GRAIN_US


def window_of_us(time_us: int) -> int:
    """Return the start of the quarter of an hour that holds `time_us`, both in microseconds since 1970."""
    return time_us - time_us % GRAIN_US
