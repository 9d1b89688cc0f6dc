"""The keys of one issuer, kept in memory: fetched when needed, at most once a minute, by one task for all who wait.

The last good set is used while it is not too old, so that an issuer that is away for a while locks nobody out; a set
past its maximum age is not, so that a key that was withdrawn does not live on behind a silent issuer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.access.oidc.keyset import VerifyingKey, read_key_set
from libs.runtime.clock import Clock
from libs.runtime.errors import MaestroError, Unavailable

Fetch = Callable[[], Awaitable[bytes]]
"""Returns the bytes of a key set, or raises one of the MaestroError family."""

_log = logging.getLogger(__name__)


class IssuerSilent(Unavailable):
    """The issuer's keys could not be had for too long, so its tokens can neither be believed nor refused."""

    code = "issuer_silent"
    title = "The issuer's keys cannot be had"


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds: between two fetches at least, until a set is renewed, until it is no longer used."""

    between_s: float = 60.0  # an unknown key id must not become a request of ours to the issuer each time
    fresh_s: float = 600.0  # a withdrawn key is out within this time, while the issuer answers
    max_s: float = 86_400.0  # an issuer's outage of a day locks nobody out


AGES: Final = Ages()


class KeyRing:
    """The keys of one issuer. Not thread-safe: it lives on one event loop."""

    def __init__(self, name: str, fetch: Fetch, clock: Clock, ages: Ages = AGES) -> None:
        """Fetch by `fetch`; `name` is the issuer's, for the log."""
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._ages = ages
        self._keys: Mapping[str, VerifyingKey] = {}
        self._good_at = -math.inf
        self._tried_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> VerifyingKey | None:
        """Return the key of that id, None where the issuer has none; raise IssuerSilent where its keys are not known.

        Waits for a fetch only where the answer depends on it, and no longer than the fetch's own time limit.
        """
        if kid not in self._keys or self._age_s() > self._ages.fresh_s:
            fetching = self._refetch()
            if fetching is not None and (kid not in self._keys or self._is_too_old()):
                await asyncio.shield(fetching)
        if self._is_too_old():
            wait_s = self._tried_at + self._ages.between_s - self._clock.monotonic()
            raise IssuerSilent("the keys of the token's issuer cannot be had", retry_after_s=max(1, math.ceil(wait_s)))
        return self._keys.get(kid)

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _refetch(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, begun now if its time has come; None where it has not."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock.monotonic() - self._tried_at < self._ages.between_s:
            return None
        self._tried_at = self._clock.monotonic()
        self._fetching = asyncio.create_task(self._renew(), name=f"keys of {self._name}")
        return self._fetching

    async def _renew(self) -> None:
        try:
            self._keys = read_key_set(await self._fetch())
            self._good_at = self._clock.monotonic()
        except MaestroError as error:
            _log.warning("the last good keys stay: %s", error.detail, extra={"issuer": self._name})

    def _age_s(self) -> float:
        return self._clock.monotonic() - self._good_at

    def _is_too_old(self) -> bool:
        return self._age_s() > self._ages.max_s
