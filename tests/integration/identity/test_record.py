"""What identity keeps and what it says: no secret, every change with its actor, each in one transaction."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from libs.access.keys import digest_of
from libs.bus.envelope import decode, meta_of
from libs.bus.kafka import KafkaAccess, KafkaBus
from libs.bus.records import Record
from libs.schemas.events import ChangeRecorded, KeyChanged, TenantChanged
from libs.store.roles import database_of
from tests.integration.identity.conftest import Identity, connected
from tests.support.conditions import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def rows(identity: Identity, postgres_admin: str) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's, who sees all there is."""
    connection = await asyncpg.connect(postgres_admin, database=database_of(identity.settings.postgres_url))
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bus(own_kafka: KafkaAccess) -> AsyncIterator[KafkaBus]:
    async with connected(own_kafka) as bus:
        yield bus


async def everything_in(rows: asyncpg.Connection) -> str:
    tables = await rows.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    dump = io.BytesIO()
    for table in tables:
        await rows.copy_from_table(table[0], output=dump)
    return dump.getvalue().decode()


async def read_all(bus: KafkaBus, count: int, about: str, topic: str = "tenant-changes") -> list[Record]:
    """Return the records of the topic whose value mentions `about`, once there are `count`."""
    reader = bus.reader(topic)
    await reader.start()
    found: list[Record] = []

    async def enough() -> bool:
        found.extend(one for one in (await reader.poll()).records if about.encode() in (one.value or b""))
        return len(found) >= count

    await eventually(enough, f"{count} records about {about}")
    await reader.stop()
    return found


async def test_no_table_holds_any_part_of_a_secret(identity: Identity, rows: asyncpg.Connection) -> None:
    order = {"name": "Acme"}
    made = await identity.call("POST", "/v1/tenants", body=order, idempotency_key="k1")
    key = made.json()["key"]["secret"]

    dumped = await everything_in(rows)

    assert key[-43:] not in dumped
    assert key[-43:].encode().hex() not in dumped
    assert digest_of(key).hex() in dumped


async def test_every_edge_is_told_of_a_tenant_and_of_its_key(identity: Identity, bus: KafkaBus) -> None:
    acme, key = await identity.new_tenant()

    told = await read_all(bus, 2, acme)

    by_type = {meta_of(one).type: one for one in told}
    tenant, key_record = by_type[TenantChanged.TYPE], by_type[KeyChanged.TYPE]
    assert tenant.key == f"tenant/{acme}".encode()
    assert decode(tenant, TenantChanged).data.name == "Acme"
    assert key_record.key == f"key/{key.split('_')[2]}".encode()
    assert decode(key_record, KeyChanged).data.digest == digest_of(key).hex()


async def test_what_is_said_carries_the_trace_of_the_request(identity: Identity, bus: KafkaBus) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    made = await identity.call(
        "POST", "/v1/tenants", body={"name": "Acme"}, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01"
    )

    told = await read_all(bus, 2, made.json()["tenant"]["tenant_id"])

    assert [trace_id in (meta_of(one).traceparent or "") for one in told] == [True, True]


async def test_every_change_names_its_actor_its_request_and_its_reason(
    identity: Identity, rows: asyncpg.Connection
) -> None:
    made = await identity.call(
        "POST", "/v1/tenants", body={"name": "Acme"}, x_request_id="req-1", maestro_reason="signed contract 7"
    )
    key_id = made.json()["key"]["key_id"]
    await identity.call("DELETE", f"/v1/keys/{key_id}", x_request_id="req-2")

    changes = await rows.fetch(
        "SELECT kind, subject, actor, request_id, reason FROM identity_change"
        " WHERE request_id = ANY($1) ORDER BY change_id",
        ["req-1", "req-2"],
    )

    operator_id = identity.operator.split("_")[2]
    acme = made.json()["tenant"]["tenant_id"]
    assert [tuple(change) for change in changes] == [
        ("tenant.registered", f"tenant/{acme}", operator_id, "req-1", "signed contract 7"),
        ("key.issued", f"key/{key_id}", operator_id, "req-1", "signed contract 7"),
        ("key.revoked", f"key/{key_id}", operator_id, "req-2", "a test"),
    ]


async def test_every_change_is_said_for_the_record_of_changes_and_a_repeated_one_once(
    identity: Identity, bus: KafkaBus
) -> None:
    why = {"x_request_id": "req-audit", "maestro_reason": "signed contract 8"}
    made = await identity.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="audited", **why)
    await identity.call("POST", "/v1/tenants", body={"name": "Acme"}, idempotency_key="audited", **why)
    key_id = made.json()["key"]["key_id"]
    await identity.call("DELETE", f"/v1/keys/{key_id}", x_request_id="req-audit-2")
    await identity.call("DELETE", f"/v1/keys/{key_id}", x_request_id="req-audit-2")
    end = await identity.call("POST", "/v1/tenants", body={"name": "Last"}, x_request_id="req-audit-end")

    said = await read_all(bus, 5, "req-audit", "identity-audit")

    acme, last = made.json()["tenant"]["tenant_id"], end.json()["tenant"]["tenant_id"]
    changes = [decode(one, ChangeRecorded).data for one in said]
    assert [(one.action, one.subject, one.reason) for one in changes[:4]] == [
        ("tenant.registered", f"tenant/{acme}", "signed contract 8"),
        ("key.issued", f"key/{key_id}", "signed contract 8"),
        ("key.revoked", f"key/{key_id}", "a test"),
        ("tenant.registered", f"tenant/{last}", "a test"),
    ]
    assert {one.actor for one in changes} == {identity.operator.split("_")[2]}
    assert {one.tenant_id for one in changes} == {acme, last}


@pytest.mark.parametrize("reason", ["a\u202eb", "r" * 201], ids=["bidirectional", "long"])
async def test_a_reason_that_cannot_be_kept_stops_the_change(identity: Identity, reason: str) -> None:
    headers = {b"authorization": f"Bearer {identity.operator}".encode(), b"maestro-reason": reason.encode()}
    answer = await identity.client.post("/v1/tenants", json={"name": "Acme"}, headers=headers)

    assert (answer.status_code, answer.json()["error"]) == (400, "bad_reason")


async def test_a_repeated_revocation_is_no_second_change(identity: Identity, rows: asyncpg.Connection) -> None:
    _, key = await identity.new_tenant()
    key_id = key.split("_")[2]
    await identity.call("DELETE", f"/v1/keys/{key_id}")
    await identity.call("DELETE", f"/v1/keys/{key_id}")

    changes = await rows.fetch(
        "SELECT kind FROM identity_change WHERE subject = $1 ORDER BY change_id", f"key/{key_id}"
    )
    assert [change["kind"] for change in changes] == ["key.issued", "key.revoked"]


@pytest.mark.parametrize(
    "edit",
    ["UPDATE identity_change SET actor = 'nobody'", "DELETE FROM identity_change", "TRUNCATE identity_change"],
)
async def test_the_record_of_changes_cannot_be_edited(identity: Identity, rows: asyncpg.Connection, edit: str) -> None:
    await identity.new_tenant()

    with pytest.raises(asyncpg.PostgresError, match="appended to"):
        await rows.execute(edit)


async def test_a_request_that_fails_leaves_nothing_behind(identity: Identity, rows: asyncpg.Connection) -> None:
    refused = {"name": "Never Registered", "plan_id": "gold"}

    await identity.call("POST", "/v1/tenants", body=refused, idempotency_key="never-honoured")

    dumped = await everything_in(rows)
    assert "Never Registered" not in dumped
    assert "never-honoured" not in dumped
