"""Failed attempts to authenticate, limited per address: GCRA over failures only, in bounded memory.

Past the limit an address is answered 429 and what it sends is not looked at, except a credential that was good from
there before: one wrong key behind a shared address (NAT, a proxy) locks out none of its neighbours, and no guess is
evaluated. Where repetitions are free, a wrong credential counts once as long as it is remembered, and may always be
tried again: whoever passes on what others send is not answerable for one of them who goes on with an old key.

Source: GCRA as in ITU-T I.371; RFC 6585, section 4.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from typing import Final

from libs.access.errors import TooManyAttempts
from libs.runtime.clock import Clock

BURST: Final = 60  # failures at once: a client that polls until its new key is known has room
PERIOD_S: Final = 1.0  # one more failure each
MAX_ADDRESSES: Final = 20_000  # a few megabytes; a flood from more addresses pushes out those that failed longest ago
MAX_PROVEN: Final = 50_000


class FailedAttempts:
    """Counts failures by address. Not thread-safe: it lives on one event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        burst: int = BURST,
        period_s: float = PERIOD_S,
        max_addresses: int = MAX_ADDRESSES,
        max_proven: int = MAX_PROVEN,
        max_repeated: int = 0,
    ) -> None:
        """Allow `burst` failures at once and one more every `period_s` seconds.

        Repetitions of the last `max_repeated` wrong credentials are free.
        """
        self._clock = clock
        self._period_s = period_s
        self._slack_s = (burst - 1) * period_s
        self._max_addresses = max_addresses
        self._max_proven = max_proven
        self._max_repeated = max_repeated
        self._due_at: OrderedDict[str, float] = OrderedDict()  # when the address will have paid for its failures
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self._repeated: OrderedDict[bytes, None] = OrderedDict()

    def require_room(self, address: str, credential: str) -> None:
        """Raise TooManyAttempts where the address failed too often, unless the credential was good from there.

        Nor where its repetition is free.
        """
        wait_s = self._due_at.get(address, -math.inf) - self._slack_s - self._clock.monotonic()
        if wait_s <= 0:
            return
        pair = _pair(address, credential)
        if pair not in self._proven and pair not in self._repeated:
            raise TooManyAttempts(
                "this address sent too many wrong credentials: correct them, and wait", retry_after_s=math.ceil(wait_s)
            )

    def failed(self, address: str, credential: str) -> None:
        """Count a failure of the address, unless it is a repetition that is free."""
        pair = _pair(address, credential)
        is_repeated = pair in self._repeated
        _remember(self._repeated, pair, self._max_repeated)
        if is_repeated:
            return
        now_s = self._clock.monotonic()
        self._due_at[address] = max(self._due_at.get(address, now_s), now_s) + self._period_s
        self._due_at.move_to_end(address)
        if len(self._due_at) > self._max_addresses:
            self._due_at.popitem(last=False)

    def passed(self, address: str, credential: str) -> None:
        """Remember that the credential was good from the address."""
        _remember(self._proven, _pair(address, credential), self._max_proven)


def _remember(pairs: OrderedDict[bytes, None], pair: bytes, most: int) -> None:
    pairs[pair] = None
    pairs.move_to_end(pair)
    if len(pairs) > most:
        pairs.popitem(last=False)


def _pair(address: str, credential: str) -> bytes:
    # A digest, so that no credential stays in memory.
    return hashlib.sha256(f"{address} {credential}".encode("utf-8", "surrogatepass")).digest()
