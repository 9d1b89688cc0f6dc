"""The record of changes: kept once, in order, unalterable, and shown to operators alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.bus.envelope import event_message
from libs.bus.memory import MemoryBus
from libs.bus.records import Message
from libs.bus.topics import topics_of
from libs.runtime.clock import ManualClock
from libs.schemas.events import ChangeRecorded
from libs.store.pool import Pool, transaction
from services.evidence.consumer import AUDIT_TOPICS, audit_consumer
from services.evidence.handlers import Reading, Recorder
from services.evidence.store import MIGRATIONS
from services.evidence.store.objects import ObjectStore
from tests.integration.evidence.test_http import BLIND, OPERATOR, OWN, Service, serving
from tests.support.access import NOW, api_key, tenant_id
from tests.support.conditions import eventually
from tests.support.stores import as_owner, pools_on

TENANT = tenant_id(1)
KEY = f"key/{api_key(5).key_id}"


def change(action: str = "key.issued", **fields: Any) -> ChangeRecorded:
    told: dict[str, Any] = {
        "subject": KEY,
        "tenant_id": TENANT,
        "details": {"kind": "tenant"},
        "actor": "aaaaaaaaaaaaaaaa",
        "request_id": "req-1",
        "reason": "signed contract 7",
        "changed_at": NOW,
    }
    return ChangeRecorded(action=action, **(told | fields))


def said(topic: str, event: ChangeRecorded, event_id: uuid.UUID | None = None) -> Message:
    return event_message(topic, event, key=event.subject, event_id=event_id or uuid.uuid4(), at=NOW)


@dataclass
class Audit:
    """Evidence's consumer of changes on a real database and a broker in memory, and its HTTP."""

    dsn: str
    pool: Pool
    bus: MemoryBus
    http: Service

    async def hears(self, *messages: Message) -> None:
        """Publish, and wait until all that was ever published is taken."""
        await self.bus.publisher.publish(messages)
        consumer = asyncio.create_task(audit_consumer(self.bus, self.pool, "0", Recorder(ManualClock(NOW))).run())
        try:
            await eventually(self._has_caught_up, "all changes are kept")
        finally:
            consumer.cancel()
            with suppress(asyncio.CancelledError):
                await consumer

    async def shown(self, query: str = "") -> list[dict[str, Any]]:
        answer = await self.http.get(f"/v1/audit{query}", OPERATOR)
        items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return items

    async def _has_caught_up(self) -> bool:
        async with transaction(self.pool) as tx:
            reached = await tx.fetchval("SELECT coalesce(sum(next), 0) FROM consumer_offset")
        ends = (len(self.bus.records(topic)) for topic in AUDIT_TOPICS)
        return bool(reached == sum(ends))


@pytest.fixture
async def audit(fresh_database: Callable[..., str], objects: ObjectStore) -> AsyncIterator[Audit]:
    bus = MemoryBus()
    await bus.ensure_topics(topics_of("evidence"))
    dsn = fresh_database("evidence")
    async with pools_on(dsn, [MIGRATIONS]) as pools:
        transport = httpx.ASGITransport(await serving(Reading(pools, objects)), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://evidence") as client:
            yield Audit(dsn, pools.worker, bus, Service(client))


async def test_a_change_is_kept_as_it_was_said_with_the_service_whose_topic_it_came_on(audit: Audit) -> None:
    event_id = uuid.uuid4()
    await audit.hears(said("identity-audit", change(), event_id))

    [kept] = await audit.shown()
    assert kept == {
        "event_id": str(event_id),
        "service": "identity",
        "action": "key.issued",
        "subject": KEY,
        "tenant_id": TENANT,
        "details": {"kind": "tenant"},
        "actor": "aaaaaaaaaaaaaaaa",
        "request_id": "req-1",
        "reason": "signed contract 7",
        "changed_at": "2026-11-24T10:00:00Z",
        "recorded_at": "2026-11-24T10:00:00Z",
    }


async def test_a_change_that_is_said_twice_is_one_entry(audit: Audit) -> None:
    once = said("quota-audit", change("plan.assigned", subject=f"tenant/{TENANT}"))
    await audit.hears(once, once)
    await audit.hears(once)

    assert [entry["action"] for entry in await audit.shown()] == ["plan.assigned"]


async def test_entries_page_by_cursor_newest_first_and_by_what_is_asked_for(audit: Audit) -> None:
    for number in range(5):
        at = NOW + timedelta(seconds=number)
        await audit.hears(said("identity-audit", change(request_id=f"req-{number}", changed_at=at)))
    other = change("close.requested", subject="close/1", actor="jwt_other", tenant_id=None)
    await audit.hears(said("invoicing-audit", other))

    first = (await audit.http.get("/v1/audit?limit=4", OPERATOR)).json()
    rest = (await audit.http.get(f"/v1/audit?limit=4&cursor={first['next_cursor']}", OPERATOR)).json()
    order = [entry["request_id"] for entry in first["items"] + rest["items"]]
    assert (order, rest["next_cursor"]) == (["req-1", "req-4", "req-3", "req-2", "req-1", "req-0"], None)
    assert len(await audit.shown("?service=invoicing")) == 1
    assert len(await audit.shown("?actor=jwt_other")) == 1
    assert len(await audit.shown(f"?tenant_id={TENANT}")) == 5
    assert len(await audit.shown(f"?subject={KEY}&service=identity")) == 5
    assert await audit.shown("?service=quota") == []


@pytest.mark.parametrize("key", [OWN, BLIND])
async def test_a_tenant_does_not_read_the_record_of_changes(audit: Audit, key: Any) -> None:
    answer = await audit.http.get("/v1/audit", key)

    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?cursor=x", "malformed_cursor"),
        ("?cursor=WyIxIiwiMiJd", "malformed_cursor"),
        ("?cursor=WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Il0", "malformed_cursor"),
        ("?service=%00", "malformed"),
        ("?limit=0", "malformed"),
        ("?acter=x", "malformed"),
        ("?tenant_id=acme", "malformed"),
    ],
)
async def test_what_cannot_be_asked_is_a_400(audit: Audit, query: str, code: str) -> None:
    answer = await audit.http.get(f"/v1/audit{query}", OPERATOR)

    assert (answer.status_code, answer.json()["error"]) == (400, code)


@pytest.mark.parametrize(
    "edit", ["UPDATE audit_entry SET actor = 'nobody'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"]
)
async def test_no_statement_alters_the_record(audit: Audit, edit: str) -> None:
    await audit.hears(said("identity-audit", change()))

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with transaction(audit.pool) as tx:
            await tx.execute(edit)
    with pytest.raises(asyncpg.PostgresError, match="appended to"):
        await as_owner(audit.dsn, edit)


async def test_a_record_that_says_no_change_is_set_aside_and_holds_up_none(audit: Audit) -> None:
    good = said("identity-audit", change())
    broken = Message(good.topic, good.key, b'{"action": "DROP TABLE"}', good.headers)
    await audit.hears(broken, said("identity-audit", change(request_id="req-2")))

    assert [entry["request_id"] for entry in await audit.shown()] == ["req-2"]
