"""Every status that the documents name for evidence's routes is answered, and no other."""

from __future__ import annotations

import asyncpg

from libs.runtime.clock import ManualClock
from libs.signing.keys import SigningKey
from libs.store.opening import Pools
from libs.store.pool import Pool, transaction
from services.evidence.handlers import Reading, Signer, adopt_key
from services.evidence.store.objects import ObjectStore
from tests.integration.evidence.test_http import BLIND, OPERATOR, OWN, serving
from tests.support.access import NOW
from tests.support.answers import Ask, Stage, drive
from tests.support.issued_invoices import OTHER_TENANT, issued_invoice, received

LIST = Ask("GET", "/v1/artifacts", "tenant")
READ = Ask("GET", "/v1/artifacts/{digest}", "tenant")
BUNDLE = Ask("GET", "/v1/artifacts/{digest}/bundle", "tenant")
TRUST = Ask("GET", "/v1/trust")
VERIFY = Ask("POST", "/v1/verify", "tenant", json={"manifest": "e30=", "bundle": "{}"})
AUDIT = Ask("GET", "/v1/audit", "operator")
GOOD = [(200, ask) for ask in (LIST, READ, BUNDLE, TRUST, VERIFY, AUDIT)]
ABSENT = {"digest": "0" * 64}
RULES = [
    (400, LIST.but(query={"cursor": "nonsense"})),
    (404, LIST.but(query={"tenant_id": OTHER_TENANT})),
    (404, READ.but(names=ABSENT)),
    (404, BUNDLE.but(names=ABSENT)),
    (400, AUDIT.but(query={"cursor": "nonsense"})),
    (400, VERIFY.but(json={"manifest": "***", "bundle": ""})),
]


async def test_every_documented_status_is_answered(
    pools: Pools, key: SigningKey, objects: ObjectStore, postgres: str
) -> None:
    await adopt_key(pools.worker, key.public, replaces="")
    async with transaction(pools.worker) as tx:
        await Signer(key, objects, ManualClock(NOW)).on_invoice_issued(tx, received(issued_invoice()))
    keys = {"tenant": OWN.text, "operator": OPERATOR.text, "powerless": BLIND.text}
    stage = Stage(await serving(Reading(pools, objects)), keys, {"digest": issued_invoice().manifest_sha})
    down = [(503, TRUST.but(names={"why": "down"}))]

    await drive(stage, GOOD, RULES, seen=down)

    assert await without_a_store(stage, pools.worker, postgres) == 503


async def without_a_store(stage: Stage, pool: Pool, admin: str) -> int:
    """Return what is answered where the store takes no connection any more."""
    name = await pool.fetchval("SELECT current_database()")
    connection = await asyncpg.connect(admin)
    await connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await connection.close()
    return (await stage.answer(TRUST)).status_code
