"""The usage emitter: everything emitted is accepted, rejected, dropped by name, or still on its way."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from maestro_sdk import EmitterClosed, EmitterFull, EmitterPolicy, LostEvent, UsageCounts, UsageEmitter
from maestro_sdk.backoff import Backoff
from tests.support.sdk import NOON, TENANT, Answer, PatientClock, Service, in_turn, problem, unreachable

TAKEN = httpx.Response(204)
USE = {"maestro.ingest.events": 3}


def verdicts(*reasons: str | None) -> httpx.Response:
    accepted = {"verdict": "accepted"}
    results = [
        {"index": at} | (accepted if why is None else {"verdict": "rejected", "reason": why, "detail": "as told"})
        for at, why in enumerate(reasons)
    ]
    return httpx.Response(207, json={"results": results})


class Emitting:
    """An emitter with its service, its clock and what it lost."""

    def __init__(self, *answers: httpx.Response | Exception, **policy: Any) -> None:
        self.service = Service(*answers)
        self.clock = PatientClock()
        self.lost: list[LostEvent] = []
        settings: dict[str, Any] = {"linger_s": 0.0, "backoff": Backoff(chance=lambda: 0.5)} | policy
        self.emitter = UsageEmitter(
            "http://metering",
            "edge-key",
            source="my-gateway",
            policy=EmitterPolicy(**settings),
            on_lost=self.lost.append,
            transport=self.service.transport,
            clock=self.clock,
        )

    async def emit(self, count: int) -> list[str]:
        return [(await self.emitter.emit("ingest", USE, subject=TENANT)).id for _ in range(count)]

    @property
    def sent_ids(self) -> list[list[str]]:
        return [[event["id"] for event in batch] for batch in self.service.asked]


async def test_an_event_goes_out_as_a_cloudevent_in_a_batch() -> None:
    emitting = Emitting(TAKEN)

    event = await emitting.emitter.emit("ingest", USE, subject=TENANT)
    await emitting.emitter.flush()

    request = emitting.service.requests[0]
    assert request.url.path == "/api/v1/events"
    assert request.headers["content-type"] == "application/cloudevents-batch+json"
    assert request.headers["authorization"] == "Bearer edge-key"
    assert json.loads(request.content) == [
        {
            "specversion": "1.0",
            "id": event.id,
            "source": "my-gateway",
            "type": "ingest",
            "time": NOON.isoformat(),
            "datacontenttype": "application/json",
            "subject": TENANT,
            "data": USE,
        }
    ]


async def test_events_wait_for_each_other_up_to_the_size_of_a_batch() -> None:
    emitting = Emitting(TAKEN, batch_events=2)

    ids = await emitting.emit(5)
    await emitting.emitter.flush()

    assert emitting.sent_ids == [ids[:2], ids[2:4], ids[4:]]
    assert emitting.emitter.counts == UsageCounts(accepted=5)


async def test_a_retry_sends_the_same_identities() -> None:
    emitting = Emitting(unreachable(), problem(503, "unavailable"), TAKEN)

    ids = await emitting.emit(2)
    await emitting.emitter.flush()

    assert emitting.sent_ids == [ids, ids, ids]
    assert emitting.emitter.counts == UsageCounts(accepted=2)


async def test_pauses_grow_and_never_undercut_what_the_server_asked_for() -> None:
    answers: list[Answer] = [
        unreachable(),
        unreachable(),
        problem(429, "quota_exceeded", **{"Retry-After": "7"}),
        TAKEN,
    ]
    emitting = Emitting(*answers, backoff=Backoff(first_s=1.0, chance=in_turn([0.5, 0.25, 0.75])))

    await emitting.emit(1)
    await emitting.emitter.flush()

    assert emitting.clock.slept == [0.5, 0.5, 10.0]


async def test_an_outage_shorter_than_the_deadline_loses_nothing() -> None:
    outage = [problem(503, "unavailable") for _ in range(40)]
    emitting = Emitting(*outage, TAKEN, deadline_s=900.0)

    await emitting.emit(3)
    await emitting.emitter.flush()

    assert emitting.clock.monotonic() > 100
    assert emitting.emitter.counts == UsageCounts(accepted=3)


async def test_what_the_deadline_overtakes_is_dropped_by_name() -> None:
    emitting = Emitting(unreachable(), deadline_s=30.0)

    ids = await emitting.emit(2)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(dropped=2)
    assert [(lost.event.id, lost.how) for lost in emitting.lost] == [(one, "dropped") for one in ids]
    assert "nobody there" in emitting.lost[0].reason


async def test_verdicts_settle_each_event_of_a_batch() -> None:
    emitting = Emitting(verdicts(None, "bad_number", None))

    ids = await emitting.emit(3)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(accepted=2, rejected=1)
    assert [(lost.event.id, lost.how, lost.reason) for lost in emitting.lost] == [
        (ids[1], "rejected", "bad_number: as told")
    ]


async def test_verdicts_that_cannot_be_read_are_asked_for_again() -> None:
    emitting = Emitting(httpx.Response(207, content=b"<html>"), TAKEN)

    ids = await emitting.emit(1)
    await emitting.emitter.flush()

    assert emitting.sent_ids == [ids, ids]
    assert emitting.emitter.counts == UsageCounts(accepted=1)


async def test_a_batch_that_is_too_large_goes_out_in_smaller_ones() -> None:
    emitting = Emitting(problem(413, "too_large"), TAKEN)

    ids = await emitting.emit(4)
    await emitting.emitter.flush()

    assert emitting.sent_ids == [ids, ids[:2], ids[2:]]
    assert emitting.emitter.counts == UsageCounts(accepted=4)


async def test_a_single_event_that_is_too_large_is_rejected() -> None:
    emitting = Emitting(problem(413, "too_large"))

    await emitting.emit(1)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(rejected=1)


async def test_a_batch_that_is_malformed_is_rejected_whole() -> None:
    emitting = Emitting(problem(400, "malformed"))

    await emitting.emit(2)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(rejected=2)
    assert emitting.lost[0].reason == "400 malformed: as told"


async def test_a_key_that_the_edge_does_not_know_yet_is_tried_again_for_a_moment() -> None:
    emitting = Emitting(problem(401, "unauthenticated"), TAKEN)

    await emitting.emit(1)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(accepted=1)


async def test_a_key_that_stays_unknown_is_not_tried_for_the_length_of_an_outage() -> None:
    emitting = Emitting(problem(401, "unauthenticated"))

    await emitting.emit(1)
    await emitting.emitter.flush()

    assert emitting.clock.monotonic() <= 10
    assert emitting.emitter.counts == UsageCounts(dropped=1)


async def test_a_full_queue_refuses_aloud() -> None:
    emitting = Emitting(TAKEN, queue_events=2, linger_s=60.0)
    await emitting.emit(2)

    with pytest.raises(EmitterFull):
        emitting.emitter.emit_nowait("ingest", USE)

    assert emitting.emitter.counts == UsageCounts(pending=2)


async def test_emitting_into_a_full_queue_waits_until_there_is_room() -> None:
    emitting = Emitting(TAKEN, queue_events=2)

    await emitting.emit(5)
    await emitting.emitter.flush()

    assert emitting.emitter.counts == UsageCounts(accepted=5)


async def test_closing_sends_what_is_pending() -> None:
    emitting = Emitting(TAKEN, linger_s=60.0)
    await emitting.emit(3)

    counts = await emitting.emitter.aclose()

    assert counts == UsageCounts(accepted=3)


async def test_closing_in_an_outage_names_what_was_left() -> None:
    emitting = Emitting(unreachable(), linger_s=60.0)
    ids = await emitting.emit(3)

    counts = await emitting.emitter.aclose(within_s=0)

    assert counts == UsageCounts(dropped=3)
    assert [lost.event.id for lost in emitting.lost] == ids


async def test_a_closed_emitter_takes_no_more() -> None:
    emitting = Emitting(TAKEN)
    await emitting.emitter.aclose()

    with pytest.raises(EmitterClosed):
        await emitting.emitter.emit("ingest", USE)


@pytest.mark.parametrize("value", [Decimal("1.5"), float("nan"), object()])
async def test_what_json_cannot_hold_fails_where_it_is_emitted(value: object) -> None:
    emitting = Emitting(TAKEN)

    with pytest.raises((TypeError, ValueError)):
        await emitting.emitter.emit("ingest", {"maestro.ingest.events": value})

    assert emitting.emitter.counts == UsageCounts()
