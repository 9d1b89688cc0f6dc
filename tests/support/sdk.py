"""Stand-ins for what the SDK talks to: a clock that a test moves, and services that answer what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

TENANT = "tnt_" + "a" * 20
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)

Answer = httpx.Response | Exception


class PatientClock:
    """Sleeping takes no time and moves the clock; `slept` holds every pause."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=sum(self.slept))

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Service:
    """An HTTP service that gives the answers in their order, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self._last: Answer = httpx.Response(500)
        self.requests: list[httpx.Request] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    @property
    def asked(self) -> list[Any]:
        """The bodies, as JSON gave them."""
        return [json.loads(request.content) for request in self.requests]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self._last = next(self._answers, self._last)
        if isinstance(self._last, Exception):
            raise self._last
        return httpx.Response(self._last.status_code, headers=self._last.headers, content=self._last.content)


def admitted(tenant: str = TENANT, remaining: int = 12) -> httpx.Response:
    document = {
        "allowed": True,
        "tenant": tenant,
        "limit": "qps",
        "remaining": remaining,
        "reset_s": 1,
        "plan": {"id": "starter", "version": 1},
    }
    fields = {"RateLimit": f'"qps";r={remaining};t=1', "RateLimit-Policy": '"qps";q=50;w=1'}
    return httpx.Response(200, json=document, headers=fields)


def refused() -> httpx.Response:
    document = {"error": "quota_exceeded", "retryAfter": 1, "tenant": TENANT, "limit": "qps", "status": 429}
    fields = {
        "Content-Type": "application/problem+json",
        "Retry-After": "1",
        "RateLimit": '"qps";r=0;t=1',
        "RateLimit-Policy": '"qps";q=50;w=1',
    }
    return httpx.Response(429, content=json.dumps(document).encode(), headers=fields)


def problem(status: int, code: str, **fields: str) -> httpx.Response:
    body = json.dumps({"error": code, "detail": "as told", "status": status}).encode()
    return httpx.Response(status, content=body, headers={"Content-Type": "application/problem+json", **fields})


def unreachable() -> httpx.ConnectError:
    return httpx.ConnectError("nobody there")


def in_turn(values: Iterable[float]) -> Callable[[], float]:
    """A chance that is told."""
    source = iter(values)
    return lambda: next(source)
