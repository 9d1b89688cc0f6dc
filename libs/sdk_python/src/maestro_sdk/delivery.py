"""One batch to metering (POST /api/v1/events), and what its answer asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from maestro_sdk.backoff import asked_pause_s
from maestro_sdk.clock import Clock
from maestro_sdk.events import BATCH, EncodedEvent, batch_of

CONNECTIONS: Final = 4  # one batch is under way at a time; spare ones for connections that are being closed
KEEPALIVE_S: Final = 15.0  # below the 30 s after which the service closes an idle connection
MAY_PASS_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
NEW_KEY_PATIENCE_S: Final = 10.0  # an edge may not know a new key for a second; a wrong key is wrong for ever


@dataclass(frozen=True, slots=True)
class Settled:
    """Metering took the batch, all but those `rejected`: reason by position."""

    rejected: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing is known of the batch, or it was not taken: send the same again, `pause_s` from now at the earliest.

    `patience_s` is for how long that makes sense, None for as long as the batch itself may wait.
    """

    why: str
    pause_s: float = 0.0
    patience_s: float | None = None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Send less at once."""


Outcome = Settled | TryAgain | TooLarge


class EventsEndpoint:
    """Where usage events go."""

    def __init__(
        self, base_url: str, api_key: str, clock: Clock, timeout_s: float, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._clock = clock
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}", "content-type": BATCH},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
            transport=transport,
        )

    async def send(self, batch: Sequence[EncodedEvent]) -> Outcome:
        """Send once."""
        try:
            response = await self._http.post("/api/v1/events", content=batch_of(batch))
        except httpx.HTTPError as error:
            return TryAgain(f"{type(error).__name__}: {error}")
        pause_s = asked_pause_s(response.headers, self._clock.now())
        return outcome_of(response.status_code, response.content, len(batch), pause_s)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def outcome_of(status: int, body: bytes, event_count: int, pause_s: float = 0.0) -> Outcome:
    """Return what an answer to a batch of `event_count` events asks for."""
    if status == HTTPStatus.MULTI_STATUS:
        return _verdicts(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Settled({})
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge() if event_count > 1 else Settled({0: _reason(status, body)})
    if status == HTTPStatus.UNAUTHORIZED:
        return TryAgain(_reason(status, body), pause_s, NEW_KEY_PATIENCE_S)
    if status in MAY_PASS_LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TryAgain(_reason(status, body), pause_s)
    return Settled(dict.fromkeys(range(event_count), _reason(status, body)))


def _verdicts(body: bytes) -> Outcome:
    # Without readable verdicts nobody knows which events were taken: sent again, those count once all the same.
    try:
        rejected = [one for one in json.loads(body)["results"] if one["verdict"] != "accepted"]
        return Settled({int(one["index"]): f"{one['reason']}: {one['detail']}" for one in rejected})
    except (KeyError, TypeError, ValueError) as error:
        return TryAgain(f"unreadable verdicts: {error!r}")


def _reason(status: int, body: bytes) -> str:
    try:
        document = json.loads(body)
        return f"{status} {document['error']}: {document['detail']}"
    except (KeyError, TypeError, ValueError):
        return str(status)
