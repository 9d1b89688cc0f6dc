"""Every status that the documents name for invoicing's routes is answered, and no other."""

from __future__ import annotations

from tests.integration.invoicing.test_http import MINE, MY_KEY, OPERATOR, issued
from tests.support.access import api_key, tenant_id
from tests.support.answers import Ask, Stage, drive
from tests.support.bus import furnished_memory
from tests.support.invoicing import requested
from tests.support.invoicing_rows import FreshDatabase
from tests.support.invoicing_world import invoicing_world

POWERLESS = api_key(3)
CLOSE = Ask("POST", "/v1/invoices/{period}/close", "operator", json={"tenants": [MINE]})
CLOSES = Ask("GET", "/v1/closes", "tenant")
SHOW_CLOSE = Ask("GET", "/v1/closes/{close_id}", "tenant")
INVOICES = Ask("GET", "/v1/invoices", "tenant")
SHOW = Ask("GET", "/v1/invoices/{invoice_id}", "tenant")
FILE = Ask("GET", "/v1/invoices/{invoice_id}/files/{name}", "tenant")
GOOD = [(202, CLOSE), *((200, ask) for ask in (CLOSES, SHOW_CLOSE, INVOICES, SHOW, FILE))]
NOBODY = str(requested(tenant_id(9)).close_id)
CLAIM = {"idempotency-key": "once"}
OWN = [
    (400, CLOSE.but(names={"period": "october"})),
    (404, CLOSE.but(json={"tenants": [tenant_id(9)]})),
    (409, CLOSE.but(names={"period": "2026-11"})),
    (202, CLOSE.but(headers=CLAIM)),
    (422, CLOSE.but(headers=CLAIM, json={"tenants": [MINE], "early": True})),
    (400, CLOSES.but(query={"cursor": "nonsense"})),
    (404, CLOSES.but(query={"tenant": tenant_id(9)})),
    (400, SHOW_CLOSE.but(names={"close_id": "first"})),
    (404, SHOW_CLOSE.but(names={"close_id": NOBODY})),
    (400, INVOICES.but(query={"period": "2026-13"})),
    (404, INVOICES.but(query={"tenant": tenant_id(9)})),
    (400, SHOW.but(names={"invoice_id": "first"})),
    (404, SHOW.but(names={"invoice_id": NOBODY})),
    (400, FILE.but(names={"invoice_id": "first"})),
    (404, FILE.but(names={"name": "invoice.pdf"})),
]


async def test_every_documented_status_is_answered(fresh_database: FreshDatabase) -> None:
    async with invoicing_world(fresh_database("invoicing"), await furnished_memory()) as world:
        await world.know_tenant(MINE)
        await world.operator(OPERATOR)
        await world.know_key(MY_KEY, "tenant", tenant_id=MINE, scopes=("invoices:read",))
        await world.know_key(POWERLESS, "tenant", tenant_id=MINE, scopes=())
        await world.until_known(OPERATOR, MINE, "2026-09")
        close = await issued(world, MINE)
        keys = {"tenant": MY_KEY.text, "operator": OPERATOR.text, "powerless": POWERLESS.text}
        names = {
            "period": "2026-10",
            "name": "invoice.csv",
            "close_id": close["close_id"],
            "invoice_id": close["invoice_id"],
        }
        assert world.app is not None
        stage = Stage(world.app, keys, names)
        etag = (await stage.answer(FILE)).headers["etag"]

        await drive(stage, GOOD, [*OWN, (304, FILE.but(headers={"if-none-match": etag}))])
