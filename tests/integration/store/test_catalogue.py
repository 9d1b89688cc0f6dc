"""Every table of every service that holds tenants' rows keeps them apart, and the test that says so can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.store.pool import connection
from tests.support.catalogue import SERVICES, complaints, migrations_of
from tests.support.stack import in_own_loop
from tests.support.stores import owner_of, pools_on, with_roles

CONFINED = "CREATE TABLE t (tenant_id text PRIMARY KEY); CALL confine_to_tenant('t');"
PARTITIONED = """
CREATE TABLE t (tenant_id text) PARTITION BY LIST (tenant_id);
CREATE TABLE part PARTITION OF t FOR VALUES IN ('a');
CALL confine_to_tenant('t');
CALL confine_to_tenant('part');
GRANT SELECT ON part TO :"api"
"""
BAD = {
    "no row security": ("CREATE TABLE t (tenant_id text)", "not enabled and forced"),
    "not forced": (f"{CONFINED} ALTER TABLE t NO FORCE ROW LEVEL SECURITY", "not enabled and forced"),
    "switched off": (f"{CONFINED} ALTER TABLE t DISABLE ROW LEVEL SECURITY", "not enabled and forced"),
    "no policy": (f"{CONFINED} DROP POLICY one_tenant ON t", "no policy of the API role"),
    "one policy too many": (f'{CONFINED} CREATE POLICY p ON t TO :"api" USING (true)', "past its own tenant's rows"),
    "another condition": (
        f"{CONFINED} ALTER POLICY one_tenant ON t USING (tenant_id IS NOT NULL)",
        "past its own tenant's rows",
    ),
    "a policy for all": (f"{CONFINED} CREATE POLICY p ON t USING (tenant_id = '1')", "is for everybody"),
    "a child without": (f"{CONFINED} CREATE TABLE child (id text REFERENCES t)", "child: row security is not"),
    "the owner's view": (f"{CONFINED} CREATE VIEW seen AS TABLE t", "security_invoker is off"),
    "a materialized view": (f"{CONFINED} CREATE MATERIALIZED VIEW kept AS SELECT 1 AS tenant_id", "no policy can hold"),
    "a granted partition": (PARTITIONED, "part: a partition is granted"),
    "granted to all": (f"{CONFINED} GRANT SELECT ON t TO PUBLIC", "granted to everybody"),
}


@pytest.mark.parametrize("service", SERVICES)
async def test_every_tenants_table_and_view_of_a_service_keeps_tenants_apart(
    fresh_database: Callable[..., str], service: str
) -> None:
    async with pools_on(fresh_database(service), [migrations_of(service)]) as pools, connection(pools.worker) as tx:
        assert await complaints(tx) == []


@pytest.fixture(scope="module")
def standing(module_database: Callable[..., str]) -> str:
    """A migrated database whose changes are rolled back."""
    dsn = module_database("standing")
    in_own_loop(_migrated(dsn))
    return dsn


async def _migrated(dsn: str) -> None:
    async with pools_on(dsn):
        return


async def complaints_after(dsn: str, made: str) -> list[str]:
    async with owner_of(dsn) as owner:
        change = owner.transaction()
        await change.start()
        await owner.execute(with_roles(dsn, made))
        found = await complaints(owner)
        await change.rollback()
    return found


async def test_a_table_that_is_confined_gives_no_reason_to_complain(standing: str) -> None:
    assert await complaints_after(standing, CONFINED) == []


@pytest.mark.parametrize(("made", "complaint"), BAD.values(), ids=BAD)
async def test_a_table_that_is_not_is_named(standing: str, made: str, complaint: str) -> None:
    assert complaint in " ".join(await complaints_after(standing, made))
