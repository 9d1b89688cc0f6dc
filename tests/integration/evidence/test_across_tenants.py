"""No key reads another tenant's signed manifests."""

from __future__ import annotations

from libs.access.scopes import DEFAULT_SCOPES
from libs.runtime.clock import ManualClock
from libs.signing.keys import SigningKey
from libs.store.opening import Pools
from libs.store.pool import transaction
from services.evidence.handlers import Reading, Signer, adopt_key
from services.evidence.store.objects import ObjectStore
from tests.integration.evidence.test_http import OTHER, serving
from tests.support.access import NOW, api_key, door_of, key_changed, tenant_changed
from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage
from tests.support.issued_invoices import OTHER_TENANT, TENANT, issued_invoice, received

EDGE = api_key(7)
LIST = Ask("GET", "/v1/artifacts")
READ = Ask("GET", "/v1/artifacts/{digest}")
BUNDLE = Ask("GET", "/v1/artifacts/{digest}/bundle")
VERIFY = Ask("POST", "/v1/verify", json={"manifest": "e30=", "bundle": "{}"})
ABSENT = {"digest": "0" * 64}
NOBODY = "tnt_" + "z" * 20
TRIALS = [
    Trial(LIST, 200, 403),
    Trial(LIST.but(query={"tenant_id": TENANT}), 404, 403, LIST.but(query={"tenant_id": NOBODY})),
    Trial(READ, 404, 403, READ.but(names=ABSENT)),
    Trial(BUNDLE, 404, 403, BUNDLE.but(names=ABSENT)),
    Trial(VERIFY, 200, 403),
    Trial(Ask("GET", "/v1/audit"), 403, 403),
    Trial(Ask("GET", "/v1/audit", query={"tenant_id": TENANT}), 403, 403),
]


async def test_every_route_keeps_tenants_apart(pools: Pools, key: SigningKey, objects: ObjectStore) -> None:
    await adopt_key(pools.worker, key.public, replaces="")
    async with transaction(pools.worker) as tx:
        await Signer(key, objects, ManualClock(NOW)).on_invoice_issued(tx, received(issued_invoice()))
    app = await serving(Reading(pools, objects))
    app.state.door = door_of(
        tenant_changed(TENANT),
        tenant_changed(OTHER_TENANT),
        key_changed(OTHER, "tenant", tenant_id=OTHER_TENANT, scopes=DEFAULT_SCOPES["tenant"]),
        key_changed(EDGE, "edge", act_for=(OTHER_TENANT,), scopes=DEFAULT_SCOPES["edge"]),
    )
    digest = issued_invoice().manifest_sha
    stage = Stage(app, {"mine": OTHER.text, "edge": EDGE.text}, {"digest": digest})

    await try_across(stage, TRIALS, theirs=[digest, "MST-000001"], open_to_all=[("GET", "/v1/trust")])
