"""What the API role of each service may do is this list and nothing else; it comes from its routes."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest

from libs.store.pool import connection
from libs.store.roles import Role, database_of
from tests.support.catalogue import SERVICES, migrations_of, rights_of
from tests.support.stack import as_role, in_own_loop
from tests.support.stores import pools_on

SAYS = {"outbox": "INSERT(topic, key, value, header_names, header_values, stamped, size_bytes)"}
IS_IDEMPOTENT = {"idempotency_key": "INSERT SELECT UPDATE(status, body)"}
MAY = {
    "identity": {
        "tenant": "INSERT SELECT UPDATE(changed_at)",
        "api_key": "INSERT SELECT UPDATE(revoked_at, changed_at)",
        "identity_change": "INSERT",
    },
    "metering": {
        "usage_window": "SELECT",
        "usage_rollup": "SELECT",
        "usage_conflict": "SELECT",
        "usage_failure": "SELECT",
        "usage_adjustment": "SELECT",
        "usage_event_id": "SELECT",
        "usage_id_run": "SELECT",
        "usage_id_chunk": "SELECT",
        "usage_duplicate": "SELECT",
        "usage_correction": "INSERT SELECT",
        "usage_correction_outcome": "SELECT",
        "usage_correction_waiting": "INSERT SELECT",
        "meter_version": "INSERT SELECT",
        "meter_epoch": "SELECT UPDATE(epoch)",
        "consumer_offset": "SELECT(consumer, topic_id, partition, next, appended_at_ms)",
        "period_close": "SELECT(tenant_id, period, close_id, starts_at, ends_at)",
        "archive_lot": "SELECT(lot_id, published_at)",
        "archive_range": "SELECT(topic_id, partition, start_offset, end_offset, lot_id)",
        "archive_file": "SELECT",
        "dead_letter": "SELECT(consumer, topic_id, partition, record_offset, reason)",
    },
    "quota": {
        "plans": "SELECT",
        "plan_version": "SELECT",
        "storage_gauge": "SELECT",
        "tenant_plan": "INSERT SELECT UPDATE(plan_id, effective_at, version)",
        "tenant_plan_history": "INSERT SELECT UPDATE(withdrawn_at)",
    },
    "invoicing": {
        "tenant": "SELECT",
        "tenant_plan_assignment": "SELECT",
        "usage_window_copy": "SELECT(tenant_id, metric, window_start)",
        "close": "INSERT SELECT",
        "waiting_close": "SELECT",
        "frozen_close": "SELECT",
        "invoices": "SELECT",
        "invoice_file": "SELECT",
        "invoice_signature": "SELECT",
    },
    "evidence": {"artifact": "SELECT", "signing_key": "SELECT"},
}
OWNERS_ONLY = {"TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}
WAYS_OUT = {
    "row security off": "ALTER TABLE outbox DISABLE ROW LEVEL SECURITY",
    "row security not forced": "ALTER TABLE outbox NO FORCE ROW LEVEL SECURITY",
    "another policy": "CREATE POLICY p ON outbox USING (true)",
    "no policy": "DROP POLICY all_tenants ON outbox",
    "the owner's role": 'SET ROLE "{owner}"',
    "the other role": 'SET ROLE "{other}"',
    "the superuser's role": "SET ROLE maestro",
    "another session": "SET SESSION AUTHORIZATION maestro",
    "a right for itself": "GRANT SELECT ON schema_migration TO PUBLIC",
    "an attribute for itself": 'ALTER ROLE "{own}" BYPASSRLS',
    "a table": "CREATE TABLE t ()",
    "a temporary table": "CREATE TEMPORARY TABLE t ()",
    "a schema": "CREATE SCHEMA s",
    "a function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a table emptied": "TRUNCATE consumer_offset",
    "a migration forgotten": "DELETE FROM schema_migration",
    "a file of the server": "COPY (SELECT 1) TO '/tmp/out'",
    "a program of the server": "COPY (SELECT 1) TO PROGRAM 'true'",
}


@pytest.mark.parametrize("service", SERVICES)
async def test_the_api_role_may_do_what_its_routes_do(fresh_database: Callable[..., str], service: str) -> None:
    dsn = fresh_database(service)
    async with pools_on(dsn, [migrations_of(service)]) as pools, connection(pools.worker) as tx:
        rights = await rights_of(tx, Role.API.of(database_of(dsn)))

    assert rights == SAYS | IS_IDEMPOTENT | MAY[service]


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_but_the_owner_has_the_rights_of_an_owner(
    fresh_database: Callable[..., str], service: str
) -> None:
    dsn = fresh_database(service)
    async with pools_on(dsn, [migrations_of(service)]) as pools, connection(pools.worker) as tx:
        worker = await rights_of(tx, Role.WORKER.of(database_of(dsn)))
        attributes = await tx.fetch(_ATTRIBUTES, [role.of(database_of(dsn)) for role in Role])

    assert not {verb for rights in worker.values() for verb in rights.split()} & OWNERS_ONLY
    assert {tuple(row) for row in attributes} == {(False, False, False, False, False, True)}


_ATTRIBUTES = """
SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin FROM pg_roles
WHERE rolname = ANY($1)
"""


@pytest.fixture(scope="module")
def standing(module_database: Callable[..., str]) -> str:
    """A migrated database that nobody changes."""
    dsn = module_database("standing")
    in_own_loop(_migrated(dsn))
    return dsn


async def _migrated(dsn: str) -> None:
    async with pools_on(dsn):
        return


@pytest.mark.parametrize("role", [Role.API, Role.WORKER])
@pytest.mark.parametrize("statement", WAYS_OUT.values(), ids=WAYS_OUT)
async def test_neither_role_can_give_itself_more(standing: str, statement: str, role: Role) -> None:
    database, other = database_of(standing), Role.WORKER if role is Role.API else Role.API
    names = {"owner": Role.OWNER.of(database), "own": role.of(database), "other": other.of(database)}
    connection = await asyncpg.connect(as_role(standing, role))

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement.format(**names))

    await connection.close()
