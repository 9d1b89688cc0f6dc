"""What a tenant stores over time, and what that must come to: the load client's own expectation.

A sample says how many bytes a resource holds from its time on, until the next sample of that resource. The last one
says zero, so the integral is finite and closed: the sum of bytes x microseconds, in whole numbers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SAMPLES = 6  # over forty minutes they touch three or four quarters of an hour
RESOURCES = ("documents", "attachments")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sample:
    """One resource held `stored_bytes` from `at_us` (microseconds since 1970) on."""

    resource: str
    at_us: int
    stored_bytes: int

    @property
    def time(self) -> str:
        """`at_us` as RFC 3339 text."""
        moment = _EPOCH + timedelta(microseconds=self.at_us)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def samples_of(resource: str, around_bytes: int, from_us: int, to_us: int, chance: random.Random) -> list[Sample]:
    """Return SAMPLES samples of one resource at distinct times in [from_us, to_us), in order, the last one zero."""
    times = sorted(chance.sample(range(from_us, to_us), SAMPLES))
    sizes = [around_bytes + chance.randrange(around_bytes) for _ in times[:-1]]
    return [Sample(resource, at_us, size) for at_us, size in zip(times, [*sizes, 0], strict=True)]


def units_of(samples: list[Sample]) -> list[int]:
    """Return the byte-microseconds that each sample brings until the next one; the last, being zero, brings none."""
    until = [*(sample.at_us for sample in samples[1:]), samples[-1].at_us]
    return [sample.stored_bytes * (end_us - sample.at_us) for sample, end_us in zip(samples, until, strict=True)]
