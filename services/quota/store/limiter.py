"""The buckets in Valkey: one script, one round trip a check, and a short patience with a store that does not answer."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from libs.runtime.clock import Clock
from libs.schemas.values import TenantId
from services.quota.domain.breaker import Breaker
from services.quota.domain.gcra import Rate, Verdict
from services.quota.domain.limits import RateLimit
from services.quota.errors import QuotaUnavailable
from services.quota.metrics import count_store_failure

SCRIPT: Final = (Path(__file__).parent / "gcra.lua").read_text(encoding="utf-8")
CONNECTIONS: Final = 64  # as many checks at once from one process; further ones wait within their patience
OWN_DELAY_S: Final = 0.005  # long enough to read what has arrived, and no answer that comes later

_log = logging.getLogger(__name__)


class Limiter:
    """Spends tokens of tenants' buckets. A spent token is gone, also where the answer is lost: never a double use."""

    def __init__(self, client: Redis, clock: Clock, *, patience_s: float) -> None:
        """Ask `client`, and give up after `patience_s` seconds."""
        self._client = client
        self._script = client.register_script(SCRIPT)
        self._clock = clock
        self._patience_s = patience_s
        self._breaker = Breaker()

    async def spend(self, tenant_id: TenantId, limit: RateLimit, rate: Rate, cost: int) -> Verdict:
        """Return the verdict on `cost` tokens, at most the burst; raise QuotaUnavailable where the store is silent.

        The braces make all limits of a tenant lie on one node of a cluster (Valkey cluster specification, hash tags).
        """
        may_ask = self._breaker.ask(self._clock.monotonic())
        if may_ask is None:
            raise QuotaUnavailable("the limiter's store is down; try again in a second")
        self._breaker = may_ask
        try:
            allowed, remaining, retry_after_us, reset_us = await self._run(
                f"{{{tenant_id}}}:{limit}", rate.per_s, rate.burst, cost
            )
        except (RedisError, OSError, TimeoutError) as error:
            self._on_failure(error)
            raise QuotaUnavailable("the limiter's store does not answer; try again in a second") from error
        self._on_success()
        return Verdict(bool(allowed), int(remaining), int(retry_after_us), int(reset_us))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _run(self, bucket: str, *arguments: int) -> list[int]:
        """Return what the script says; raise TimeoutError where it does not in time."""
        asking = asyncio.ensure_future(self._script(keys=[bucket], args=arguments))
        try:
            await asyncio.wait({asking}, timeout=self._patience_s)
            # It may be this process that was late, with the answer waiting at its door: a moment to take it in.
            await asyncio.wait({asking}, timeout=OWN_DELAY_S)
            if not asking.done():
                raise TimeoutError(f"no answer within {self._patience_s} s")
            answer: list[int] = asking.result()
            return answer
        finally:
            asking.cancel()

    def _on_failure(self, error: Exception) -> None:
        count_store_failure()
        was_open, self._breaker = self._breaker.is_open, self._breaker.after_failure(self._clock.monotonic())
        if self._breaker.is_open and not was_open:
            _log.warning("the limiter's store is down", extra={"error": f"{type(error).__name__}: {error}"})

    def _on_success(self) -> None:
        if self._breaker.is_open:
            _log.warning("the limiter's store answers again")
        self._breaker = self._breaker.after_success()


def connect_limiter(url: str, password: str | None, clock: Clock, *, patience_s: float) -> Limiter:
    """Return the limiter at `url` (unix:///path or redis://host:port/db). Opens nothing yet, and never asks twice.

    A retry could spend twice, so the client makes none; a caller that retries knows that it does. The only patience is
    the limiter's: whatever the client waits for is given up with it.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        password=password,
        max_connections=CONNECTIONS,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        client_name="maestro.quota",
    )
    return Limiter(Redis.from_pool(pool), clock, patience_s=patience_s)
