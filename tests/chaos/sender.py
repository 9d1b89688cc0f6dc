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
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.chaos.ways import ACCEPTED, EVENTS_TOPIC, SPANS_TOPIC, Account, Doors, Lot, NotAccepted, Way

EVENTS: Final = "ingest_events"
CALLS: Final = "gql_calls"
SENDERS: Final = 3
PAUSE_S: Final = 0.05  # between the lots of one sender: load enough to be hit, little enough for two cores
REPEAT_SHARE: Final = 0.2  # of the lots that were accepted
LOT: Final = 8  # usages in one request
AGAIN_S: Final = 0.1
ACCEPTED_WITHIN_S: Final = 90.0  # every fault is over by then
BAD_SHARE: Final = 0.1  # of the lots that Kafka may carry: their record holds one event more, which is set aside
NOBODY: Final = "tnt_nobodynobodynobodyno"

Entry = tuple[str, str]
"""(tenant id, metric)."""


class Senders:
    """Sends lots from several threads until told to stop, and keeps the account."""

    def __init__(self, doors: Doors, accounts: list[Account], seed: int) -> None:
        """Send through `doors` in the name of `accounts`; what is sent follows from `seed`."""
        self._doors = doors
        self._accounts = accounts
        self._seed = seed
        self._run = secrets.token_hex(4)  # the same seed twice on one stack is not the same usage twice
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.sent: Counter[Entry] = Counter()
        self.lots = 0
        self.ways: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Send while the block runs; at its end every lot that was begun is accepted. Raises NotAccepted."""
        with self._doors.open(), ThreadPoolExecutor(SENDERS) as pool:
            working = [pool.submit(self._work, number) for number in range(SENDERS)]
            try:
                yield
            finally:
                self._stop.set()
            for one in working:
                one.result()

    def account_of_trouble(self) -> str:
        """Return how many lots were accepted, and what kept the others."""
        with self._lock:
            return f"{self.lots} lots, {dict(self.refusals)}"

    def _work(self, number: int) -> None:
        random = Random(f"{self._seed}/{number}")
        with self._doors.ways() as ways_of:
            for lot_number in itertools.count():
                if self._stop.is_set():
                    return
                lot = self._lot(random, f"{self._run}-{number}-{lot_number}")
                self._carry(lot, ways_of(lot), random)
                self._stop.wait(PAUSE_S)

    def _carry(self, lot: Lot, ways: dict[str, Way], random: Random) -> None:
        """Have the lot accepted by one of the ways, and now and then by one of them once more."""
        first = random.choice(sorted(ways))
        self._until_accepted(first, ways[first], lot)
        with self._lock:
            self.lots += 1
            self.ways[first] += 1
            self.sent.update({(lot.account.tenant_id, metric): n for metric, n in lot.adds.items()})
        if random.random() < REPEAT_SHARE:
            again = random.choice(sorted(ways))
            self._until_accepted(again, ways[again], lot)
            with self._lock:
                self.ways[f"{first}, {again} again"] += 1

    def _until_accepted(self, name: str, way: Way, lot: Lot) -> None:
        deadline = time.monotonic() + ACCEPTED_WITHIN_S
        while (last := way(lot)) != ACCEPTED:
            with self._lock:
                self.refusals[f"{name} {last}"] += 1
            if time.monotonic() > deadline:
                raise NotAccepted(f"{name}: {last} for {ACCEPTED_WITHIN_S:g} s")
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
    bad = [events[0] | {"id": f"{name}-bad", "subject": NOBODY}] if random.random() < BAD_SHARE else []
    return Lot(
        account,
        path="/api/v1/events",
        content_type="application/cloudevents-batch+json",
        body=json.dumps(events).encode(),
        rpc=None,
        topic=EVENTS_TOPIC,
        record=json.dumps([*events, *bad]).encode(),
        adds=Counter({EVENTS: sum(amounts)}),
    )


def _spans(account: Account, name: str) -> Lot:
    ends_at_ns = time.time_ns()
    says = {"graphql.operation.type": "query", "maestro.tenant.id": account.tenant_id}
    spans = [
        Span(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name=f"POST /graphql {name}",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=ends_at_ns - 1_000_000,
            end_time_unix_nano=ends_at_ns,
            attributes=[KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in says.items()],
        )
        for _ in range(LOT)
    ]
    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add()
    whole.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="chaos")))
    whole.scope_spans.add().spans.extend(spans)
    binary = request.SerializeToString()
    return Lot(
        account,
        path="/v1/traces",
        content_type="application/json",
        body=json.dumps({"resourceSpans": [_as_json(spans)]}).encode(),
        rpc=binary,
        topic=SPANS_TOPIC,
        record=binary,
        adds=Counter({CALLS: LOT}),
    )


def _as_json(spans: list[Span]) -> dict[str, Any]:
    """Return the spans of the resource as OTLP's JSON has them: ids in hex, 64-bit numbers as strings."""
    shown = [
        {
            "traceId": span.trace_id.hex(),
            "spanId": span.span_id.hex(),
            "name": span.name,
            "kind": 2,
            "startTimeUnixNano": str(span.start_time_unix_nano),
            "endTimeUnixNano": str(span.end_time_unix_nano),
            "attributes": [_text(one.key, one.value.string_value) for one in span.attributes],
        }
        for span in spans
    ]
    return {"resource": {"attributes": [_text("service.name", "chaos")]}, "scopeSpans": [{"spans": shown}]}


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
