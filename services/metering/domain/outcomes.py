"""What became of the events of one request, told from what stood under their ids before it and what stands after it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from services.metering.domain.events import UsageEvent

MAX_WAIT_S: Final = 10  # who prefers longer asks again: an answer holds a connection of the sender and memory of ours

_WAIT: Final = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.ASCII)


class Outcome(Enum):
    """Of one event of a request. PENDING: not known when the time was up; asking GET /v1/events tells it later."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    PENDING = "pending"


def preferred_wait_s(preferences: Iterable[str]) -> int | None:
    """Return how long the values of Prefer headers ask us to wait, at most MAX_WAIT_S; None where none does.

    The first of several counts, and what cannot be read is passed over (RFC 7240, sections 2 and 4.3).
    """
    for preference in ",".join(preferences).split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0].strip().lower())
        if found is not None:
            return min(int(found[1]), MAX_WAIT_S)
    return None


def outcomes(
    events: Sequence[UsageEvent], before: Mapping[bytes, int], after: Mapping[bytes, int | None]
) -> list[Outcome]:
    """Return the outcome of each event; `before` and `after` are the digests of what stood and stands, by key.

    After it, a key that is not there, or None, is not known. The event counts, once, whether this request brought it
    first or a copy that came at the same moment.
    """
    seen: set[bytes] = set()
    found: list[Outcome] = []
    for event in events:
        standing = before.get(event.key, after.get(event.key))
        is_again = event.key in before or event.key in seen
        seen.add(event.key)
        if standing is None:
            found.append(Outcome.PENDING)
        elif standing != event.digest:
            found.append(Outcome.CONFLICT)
        else:
            found.append(Outcome.DUPLICATE if is_again else Outcome.COUNTED)
    return found
