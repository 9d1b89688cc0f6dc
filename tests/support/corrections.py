"""Asking metering for corrections, and waiting for their answers."""

from __future__ import annotations

from typing import Any

import httpx

from libs.access.keys import ApiKey
from libs.access.scopes import DEFAULT_SCOPES
from libs.schemas.values import TenantId
from tests.support.archive import until_archived
from tests.support.conditions import eventually
from tests.support.metering_world import Json, World

WHY = {"maestro-reason": "a test said so"}


async def corrector(world: World, tenant: TenantId) -> ApiKey:
    """A key of the tenant that may correct its usage."""
    return await world.new_key("tenant", tenant_id=tenant, scopes=(*DEFAULT_SCOPES["tenant"], "usage:correct"))


async def ask(world: World, key: ApiKey, event_id: str, data: Json | None = None, **more: Any) -> httpx.Response:
    """Ask for a void or, with data, for an amendment of an event of the source `test`."""
    headers = WHY | more.pop("headers", {})
    said: Json = {"action": "void" if data is None else "amend", "source": "test", "id": event_id} | more
    return await world.post("/v1/corrections", key, said if data is None else said | {"data": data}, headers=headers)


async def answered(world: World, key: ApiKey, asked: httpx.Response) -> Json:
    """Wait until the correction is answered, and return it."""
    assert asked.status_code == 202, asked.text
    found: Json = {}

    async def is_answered() -> bool:
        found.update((await world.get(asked.headers["location"], key)).json())
        return bool(found["state"] != "requested")

    await eventually(is_answered, "the correction is answered")
    return found


async def correct(world: World, key: ApiKey, event_id: str, data: Json | None = None, **more: Any) -> Json:
    """Ask once all is archived, so that nothing waits; return the answer."""
    await until_archived(world.bus, world.pool)
    return await answered(world, key, await ask(world, key, event_id, data, **more))


def amounts(effects: list[Json]) -> dict[str, str]:
    """What effects say, by metric."""
    return {one["metric"]: one["amount"] for one in effects}
