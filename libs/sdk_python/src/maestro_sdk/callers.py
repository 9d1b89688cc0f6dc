"""The callers whose keys were found good lately: whom an edge still knows when the quota service is away."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from maestro_sdk.clock import Clock

CALLERS_KEPT: Final = 10_000  # about two megabytes
KNOWN_FOR_S: Final = 300.0  # the longest that a key revoked during an outage keeps working at an edge


class RecentCallers:
    """Tenant by key, for KNOWN_FOR_S seconds since the key was last found good. Holds digests, never keys."""

    def __init__(self, clock: Clock) -> None:
        """Measure by `clock`."""
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def remember(self, token: str, tenant: str) -> None:
        """The key was found to be the tenant's."""
        key = _digest(token)
        self._known[key] = (tenant, self._clock.monotonic() + KNOWN_FOR_S)
        self._known.move_to_end(key)
        if len(self._known) > CALLERS_KEPT:
            self._known.popitem(last=False)

    def forget(self, token: str) -> None:
        """The key was found to be nobody's."""
        self._known.pop(_digest(token), None)

    def tenant_of(self, token: str) -> str | None:
        """Return the tenant of a key that was good lately, None of any other."""
        tenant, until_s = self._known.get(_digest(token), (None, 0.0))
        return tenant if self._clock.monotonic() < until_s else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
