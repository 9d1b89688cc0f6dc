"""Who sends usage while things break, and keeps the one account that counts: what was sent, each id once.

It shares no code with metering. A good sender repeats what was not accepted, under the same ids, until it is; this one
also repeats much that was accepted. So every id is accepted at least once by the end, and must be counted exactly once.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import httpx

EVENTS: Final = "ingest_events"
CALLS: Final = "gql_calls"
SENDERS: Final = 3
PAUSE_S: Final = 0.05  # between the lots of one sender: load enough to be hit, little enough for two cores
REPEAT_SHARE: Final = 0.2  # of the lots that were accepted
LOT: Final = 8  # usages in one request
AGAIN_S: Final = 0.1
ACCEPTED_WITHIN_S: Final = 90.0  # every fault is over by then
COMES_BACK: Final = frozenset({401, 429, 500, 502, 503, 504})  # 401: a process that starts has not read the keys yet

Entry = tuple[str, str]
"""(tenant id, metric)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant as a sender knows it."""

    tenant_id: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lot:
    """One request: its path, type and body, and what its usages add up to."""

    account: Account
    path: str
    content_type: str
    body: bytes
    adds: Counter[str]


class NotAccepted(Exception):
    """A lot was refused, or accepted by nobody in time: nothing about exactness can be said."""


class Senders:
    """Sends lots from several threads until told to stop, and keeps the account."""

    def __init__(self, url: str, accounts: list[Account], seed: int) -> None:
        """Send to metering at `url` in the name of `accounts`; what is sent follows from `seed`."""
        self._url = url
        self._accounts = accounts
        self._seed = seed
        self._run = secrets.token_hex(4)  # the same seed twice on one stack is not the same usage twice
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.sent: Counter[Entry] = Counter()
        self.lots = 0
        self.refusals: Counter[str] = Counter()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Send while the block runs; at its end every lot that was begun is accepted. Raises NotAccepted."""
        with ThreadPoolExecutor(SENDERS) as pool:
            working = [pool.submit(self._work, number) for number in range(SENDERS)]
            try:
                yield
            finally:
                self._stop.set()
            for one in working:
                one.result()

    def _work(self, number: int) -> None:
        random = Random(f"{self._seed}/{number}")
        with httpx.Client(base_url=self._url, timeout=15.0, trust_env=False) as client:
            for lot_number in itertools.count():
                if self._stop.is_set():
                    return
                lot = self._lot(random, f"{self._run}-{number}-{lot_number}")
                self._until_accepted(client, lot)
                with self._lock:
                    self.lots += 1
                    self.sent.update({(lot.account.tenant_id, metric): n for metric, n in lot.adds.items()})
                if random.random() < REPEAT_SHARE:
                    self._until_accepted(client, lot)
                self._stop.wait(PAUSE_S)

    def _until_accepted(self, client: httpx.Client, lot: Lot) -> None:
        headers = {"authorization": f"Bearer {lot.account.key}", "content-type": lot.content_type}
        deadline = time.monotonic() + ACCEPTED_WITHIN_S
        while True:
            try:
                answer = client.post(lot.path, content=lot.body, headers=headers)
            except httpx.TransportError as error:
                last = type(error).__name__
            else:
                if answer.status_code in {200, 204} and b"rejected" not in answer.content.lower():
                    return
                last = str(answer.status_code)
                if answer.status_code not in COMES_BACK:
                    raise NotAccepted(f"{lot.path}: {answer.status_code} {answer.text[:500]}")
            with self._lock:
                self.refusals[last] += 1
            if time.monotonic() > deadline:
                raise NotAccepted(f"{lot.path}: {last} for {ACCEPTED_WITHIN_S:g} s")
            time.sleep(AGAIN_S)

    def _lot(self, random: Random, name: str) -> Lot:
        account = random.choice(self._accounts)
        return _spans(account, name) if random.random() < 0.3 else _events(random, account, name)


def _events(random: Random, account: Account, name: str) -> Lot:
    amounts = [random.randint(1, 9) for _ in range(LOT)]
    now = datetime.now(UTC).isoformat()
    events: list[dict[str, Any]] = [
        {
            "specversion": "1.0",
            "id": f"{name}-{number}",
            "source": "chaos",
            "type": "ingest",
            "subject": account.tenant_id,
            "data": {"maestro.ingest.events": amount},
        }
        | ({"time": now} if random.random() < 0.8 else {})
        for number, amount in enumerate(amounts)
    ]
    body = json.dumps(events).encode()
    return Lot(account, "/api/v1/events", "application/cloudevents-batch+json", body, Counter({EVENTS: sum(amounts)}))


def _spans(account: Account, name: str) -> Lot:
    ends_at_ns = time.time_ns()
    spans = [
        {
            "traceId": secrets.token_hex(16),
            "spanId": secrets.token_hex(8),
            "name": f"POST /graphql {name}",
            "kind": 2,
            "startTimeUnixNano": str(ends_at_ns - 1_000_000),
            "endTimeUnixNano": str(ends_at_ns),
            "attributes": [_text("graphql.operation.type", "query"), _text("maestro.tenant.id", account.tenant_id)],
        }
        for _ in range(LOT)
    ]
    resource = {"attributes": [_text("service.name", "chaos")]}
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    return Lot(account, "/v1/traces", "application/json", json.dumps(document).encode(), Counter({CALLS: LOT}))


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
