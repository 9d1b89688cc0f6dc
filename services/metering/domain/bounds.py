"""What one request, or one record that others write, may hold: the same over HTTP, over gRPC and from Kafka.

Each bound holds before the memory is taken that it bounds. Those of one event stand in `attributes.py`: past them the
event is rejected by name, past these a request is refused as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.metering.errors import BodyTooLarge

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes in bytes. `values` counts attributes and JSON values, those inside others included."""

    sent_bytes: int = 8 * _MIB  # two full batches of an OpenTelemetry Collector
    plain_bytes: int = 32 * _MIB  # without the content encoding: telemetry shrinks to a tenth at best
    ratio: int = 200  # of plain to sent: events that differ in one number shrink to a hundredth
    ratio_from_bytes: int = _MIB  # less than this fills no memory, whatever its ratio
    window_bytes: int = 8 * _MIB  # of zstd: what a receiver supports, and no more (RFC 9659)
    events: int = 10_000  # decoding as many holds the loop for some hundred milliseconds
    parts: int = 50_000  # of OTLP above the spans: resources, scopes, and what we do not read
    part_bytes: int = _MIB  # one span or resource of OTLP: a hundred times what stock SDKs make
    values: int = 1_000_000  # about 100 MB as objects, for as long as they are read
    value_depth: int = 8  # of arrays and maps in an attribute


BOUNDS: Final = Bounds()


class Budget:
    """What a request may still hold of one kind of thing."""

    __slots__ = ("_left", "_limit", "_noun")

    def __init__(self, limit: int, noun: str) -> None:
        """Start with all of it; `noun` names the things in the refusal."""
        self._left = self._limit = limit
        self._noun = noun

    def take(self, count: int) -> None:
        """Take so many; raise BodyTooLarge where fewer are left."""
        self._left -= count
        if self._left < 0:
            raise BodyTooLarge(f"a request holds at most {self._limit} {self._noun}; send several")
