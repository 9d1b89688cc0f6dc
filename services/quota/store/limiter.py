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
            async with asyncio.timeout(self._patience_s):
                allowed, remaining, retry_after_us, reset_us = await self._script(
                    keys=[f"{{{tenant_id}}}:{limit}"], args=[rate.per_s, rate.burst, cost]
                )
        except (RedisError, OSError, TimeoutError) as error:
            self._on_failure(error)
            raise QuotaUnavailable("the limiter's store does not answer; try again in a second") from error
        self._on_success()
        return Verdict(bool(allowed), int(remaining), int(retry_after_us), int(reset_us))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

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

    A retry could spend twice, so the client makes none; a caller that retries knows that it does.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        password=password,
        max_connections=CONNECTIONS,
        timeout=patience_s,
        socket_timeout=patience_s,
        socket_connect_timeout=patience_s,
        retry=Retry(NoBackoff(), 0),
        client_name="maestro.quota",
    )
    return Limiter(Redis.from_pool(pool), clock, patience_s=patience_s)
