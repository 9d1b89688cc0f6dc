"""What became of one event: what meters made of it, which close froze it, or why it counts nowhere."""

from __future__ import annotations

import json

import msgspec

from libs.bus.memory import MemoryBus
from libs.bus.records import Message
from libs.runtime.clock import ManualClock
from libs.schemas.values import TenantId
from services.metering.domain.events import UsageEvent
from services.metering.domain.modes import reader_of
from services.metering.domain.records import encode
from services.metering.settings import MeteringSettings
from tests.support.archive import until_archived
from tests.support.metering import acting_for
from tests.support.metering_world import World, metering_world


async def settled(world: World) -> None:
    await world.until_all_is_counted()
    await until_archived(world.bus, world.pool)


async def test_every_meter_that_took_an_event_is_named_with_what_it_made_of_it(archiving_world: World) -> None:
    world = archiving_world
    tenant = await world.new_tenant()
    event = world.event(tenant, "a", data={"maestro.ingest.events": "2.5", "maestro.storage.bytes": 7})
    await world.send(tenant, event)
    await settled(world)
    await world.send(tenant, event)
    await settled(world)
    found = await world.explain(tenant, "a")
    assert (found["status"], found["archive"], found["type"]) == ("counted", "read", "ingest")
    assert found["duplicate_count"] == 1
    assert found["counted"] == [
        {"metric": "ingest_events", "amount": "2.5", "window_start": "2026-11-24T10:00:00Z"},
        {"metric": "storage_gb", "amount": "7", "window_start": "2026-11-24T10:00:00Z"},
    ]
    assert (found["closed"], found["set_aside"]) == (None, None)


async def test_a_meter_that_could_not_take_an_event_says_why_beside_one_that_did(archiving_world: World) -> None:
    world = archiving_world
    tenant = await world.new_tenant()
    await world.send(
        tenant, world.event(tenant, "a", data={"maestro.ingest.events": 3, "maestro.storage.bytes": "1.5"})
    )
    await settled(world)
    found = await world.explain(tenant, "a")
    assert [(one["metric"], one["amount"]) for one in found["counted"]] == [("ingest_events", "3")]
    assert [(one["metric"], one["reason"]) for one in found["failures"]] == [("storage_gb", "bad_amount")]


async def test_the_close_that_froze_an_event_is_named(archiving_world: World) -> None:
    world = archiving_world
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "a", 5))
    await world.until_total(tenant, 5)
    request = world.close_of(tenant)
    await world.ask_close(request)
    await world.until_closed(tenant)
    found = await world.explain(tenant, "a")
    assert found["closed"] == {"close_id": request.close_id, "period": "2026-11"}


async def test_what_is_counted_and_not_archived_yet_says_so(
    archiving: MeteringSettings, broker: MemoryBus, clock: ManualClock
) -> None:
    slow = archiving.model_copy(update={"archive_max_age_s": 900})
    async with metering_world(slow, broker, clock) as world:
        tenant = await world.new_tenant()
        await world.send(tenant, world.event(tenant, "a", 5))
        await world.until_total(tenant, 5)
        found = await world.explain(tenant, "a")
    assert (found["status"], found["archive"], found["type"], found["counted"]) == ("counted", "waiting", None, [])


async def test_without_an_archive_the_store_still_says_what_it_knows(world: World) -> None:
    tenant = await world.new_tenant()
    await world.send(tenant, world.event(tenant, "a", 5))
    await world.until_total(tenant, 5)
    found = await world.explain(tenant, "a")
    assert (found["status"], found["archive"], found["counted"]) == ("counted", "away", [])


async def test_an_event_in_a_record_that_was_set_aside_says_why_it_counts_nowhere(archiving_world: World) -> None:
    world = archiving_world
    tenant, other = await world.new_tenant(), await world.new_tenant()
    await world.send(tenant, world.event(tenant, "good", 5))
    await settled(world)
    # A conflict is listed by its names, and PostgreSQL takes no NUL in text: the whole record is set aside.
    [evil] = taken(world, tenant, "evil")
    [good] = taken(world, tenant, "good")
    conflict = msgspec.structs.replace(good, digest=1, type="in\x00gest")
    [(partition, value)] = encode([evil, conflict], 1)
    await world.bus.publisher.publish([Message("usage-shards", b"0", value, (), partition)])
    await settled(world)
    found = await world.explain(tenant, "evil")
    assert (found["status"], found["set_aside"], found["counted"]) == ("unknown", "sqlstate_22021", [])
    assert (await world.explain(tenant, "good"))["status"] == "counted"
    assert (await world.explain(other, "evil"))["set_aside"] is None


def taken(world: World, tenant: TenantId, event_id: str) -> list[UsageEvent]:
    """An event as an edge of this world makes it."""
    intake = world.app.state.edge.intake(acting_for(tenant))
    content = json.dumps(world.event(tenant, event_id)).encode()
    return list(reader_of("application/cloudevents+json", [], "ce-")(intake, content).events)
