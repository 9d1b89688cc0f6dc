"""No key closes another tenant's periods, or reads its closes, invoices and files."""

from __future__ import annotations

from libs.access.scopes import DEFAULT_SCOPES
from tests.integration.invoicing.test_http import MINE, OPERATOR, OTHERS, issued
from tests.support.access import api_key, tenant_id
from tests.support.across_tenants import Trial, try_across
from tests.support.answers import Ask, Stage
from tests.support.bus import furnished_memory
from tests.support.invoicing import requested
from tests.support.invoicing_rows import FreshDatabase
from tests.support.invoicing_world import invoicing_world

MY_KEY, EDGE = api_key(4), api_key(5)
CLOSE = Ask("POST", "/v1/invoices/{period}/close", json={"tenants": [OTHERS]})
CLOSES = Ask("GET", "/v1/closes")
SHOW_CLOSE = Ask("GET", "/v1/closes/{close_id}")
INVOICES = Ask("GET", "/v1/invoices")
SHOW = Ask("GET", "/v1/invoices/{invoice_id}")
FILE = Ask("GET", "/v1/invoices/{invoice_id}/files/{name}")
NOBODY = tenant_id(9)
NO_ID = str(requested(NOBODY).close_id)
TRIALS = [
    Trial(CLOSE, 403, 403, CLOSE.but(json={"tenants": [NOBODY]})),
    Trial(CLOSES, 200, 403),
    Trial(CLOSES.but(query={"tenant": OTHERS}), 404, 403, CLOSES.but(query={"tenant": NOBODY})),
    Trial(SHOW_CLOSE, 404, 403, SHOW_CLOSE.but(names={"close_id": NO_ID})),
    Trial(INVOICES, 200, 403),
    Trial(INVOICES.but(query={"tenant": OTHERS}), 404, 403, INVOICES.but(query={"tenant": NOBODY})),
    Trial(SHOW, 404, 403, SHOW.but(names={"invoice_id": NO_ID})),
    Trial(FILE, 404, 403, FILE.but(names={"invoice_id": NO_ID})),
    Trial(FILE.but(names={"name": "none"}), 404, 403, FILE.but(names={"invoice_id": NO_ID, "name": "none"})),
]


async def test_every_route_keeps_tenants_apart(fresh_database: FreshDatabase) -> None:
    async with invoicing_world(fresh_database("invoicing"), await furnished_memory()) as world:
        for tenant in (MINE, OTHERS):
            await world.know_tenant(tenant)
        await world.operator(OPERATOR)
        await world.know_key(MY_KEY, "tenant", tenant_id=MINE, scopes=DEFAULT_SCOPES["tenant"])
        await world.know_key(EDGE, "edge", act_for=(MINE,), scopes=DEFAULT_SCOPES["edge"])
        for tenant in (MINE, OTHERS):
            await world.until_known(OPERATOR, tenant, "2026-09")
        close = await issued(world, OTHERS)
        assert world.app is not None
        names = {"close_id": close["close_id"], "invoice_id": close["invoice_id"]}
        stage = Stage(
            world.app,
            {"mine": MY_KEY.text, "edge": EDGE.text},
            {**names, "period": "2026-10", "name": "invoice.csv"},
        )

        await try_across(stage, TRIALS, theirs=[OTHERS, "MST-000001", *names.values()])
