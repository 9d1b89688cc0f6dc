"""What PostgreSQL's catalogue says of a database: which tables hold tenants' rows, and who keeps them apart."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from libs.store.pool import Tx
from libs.store.roles import Role

SERVICES: Final = ("identity", "metering", "quota", "invoicing", "evidence")


def migrations_of(service: str) -> Path:
    """The service's own folder of migrations."""
    folder: Path = import_module(f"services.{service}.store").MIGRATIONS
    return folder


async def complaints(tx: Tx) -> list[str]:
    """Say what keeps tenants apart too little in this database; empty where nothing does.

    A table is a tenant's if it has a column `tenant_id`, or refers to a table that is one.
    """
    database = await tx.fetchval("SELECT current_database()")
    logins = [Role.API.of(database), Role.WORKER.of(database)]
    rows = await tx.fetch(_COMPLAINTS, *logins)
    return [f"{row['name']}: {row['complaint']}" for row in rows]


async def rights_of(tx: Tx, login: str) -> dict[str, str]:
    """Return what the login may do by table; a right on some columns only is followed by their names."""
    rows = await tx.fetch(_RIGHTS, login)
    return {row["name"]: row["rights"] for row in rows}


_COMPLAINTS: Final = """
WITH RECURSIVE own AS (
  SELECT oid, relname, relkind, relispartition, relrowsecurity, relforcerowsecurity, reloptions, relacl FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
), named AS (
  SELECT attrelid AS oid FROM pg_attribute WHERE attname IN ('tenant_id', 'tenant') AND NOT attisdropped
), held AS (
  SELECT own.oid, true AS has_column FROM own JOIN named USING (oid)
  UNION
  SELECT conrelid, false FROM pg_constraint JOIN held ON contype = 'f' AND confrelid = held.oid
), tenants AS (
  SELECT own.*, bool_or(has_column) AS has_column FROM own JOIN held USING (oid)
  GROUP BY own.oid, relname, relkind, relispartition, relrowsecurity, relforcerowsecurity, reloptions, relacl
), policy AS (
  SELECT *, $1 = ANY(roles) AS is_api, roles = ARRAY[$2]::name[] AS is_worker FROM pg_policies
  WHERE schemaname = 'public'
), mine AS (
  SELECT '(tenant_id = NULLIF(current_setting(''maestro.tenant''::text, true), ''''::text))' AS text
)
SELECT relname AS name, 'row security is not enabled and forced' AS complaint FROM tenants
WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT relname, 'no policy of the API role, or another than its own tenant''s rows' FROM tenants, mine
WHERE relkind IN ('r', 'p') AND has_column AND NOT EXISTS (
  SELECT FROM policy WHERE tablename = relname AND is_api AND cmd = 'ALL' AND permissive = 'PERMISSIVE'
    AND qual = mine.text AND with_check = mine.text)
UNION ALL
SELECT tablename, 'policy ' || policyname || ' lets the API role past its own tenant''s rows' FROM policy, mine, tenants
WHERE tablename = relname AND has_column AND NOT is_worker AND permissive = 'PERMISSIVE'
  AND (coalesce(qual, mine.text) <> mine.text OR coalesce(with_check, mine.text) <> mine.text)
UNION ALL
SELECT tablename, 'policy ' || policyname || ' is for everybody' FROM policy WHERE 'public' = ANY(roles)
UNION ALL
SELECT tablename, 'policy ' || policyname || ' is true for the API role' FROM policy
WHERE NOT is_worker AND (qual = 'true' OR (with_check = 'true' AND cmd <> 'INSERT'))
UNION ALL
SELECT relname, 'the view has its owner''s rights: security_invoker is off' FROM tenants
WHERE relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
UNION ALL
SELECT relname, 'no policy can hold on a materialized view or a foreign table' FROM tenants WHERE relkind IN ('m', 'f')
UNION ALL
SELECT relname, 'a partition is granted by itself, past the policies of its table' FROM own, aclexplode(relacl) AS acl
WHERE relispartition AND acl.grantee IN (SELECT oid FROM pg_roles WHERE rolname IN ($1, $2))
UNION ALL
SELECT relname, 'something is granted to everybody' FROM own, aclexplode(relacl) AS acl WHERE acl.grantee = 0
ORDER BY 1, 2
"""
_RIGHTS: Final = """
WITH own AS (
  SELECT oid, relname, relacl FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
), granted AS (
  SELECT relname, acl.privilege_type AS verb, '' AS columns FROM own, aclexplode(relacl) AS acl
  WHERE acl.grantee = $1::regrole
  UNION ALL
  SELECT relname, acl.privilege_type, '(' || string_agg(attname, ', ' ORDER BY attnum) || ')'
  FROM own JOIN pg_attribute ON attrelid = own.oid, aclexplode(attacl) AS acl
  WHERE acl.grantee = $1::regrole GROUP BY relname, acl.privilege_type
)
SELECT relname AS name, string_agg(verb || columns, ' ' ORDER BY verb) AS rights FROM granted GROUP BY relname
"""
