"""What an OpenMeter client sends is taken as it is, under the path that it knows.

The requests are those of the Python client `openmeter` 1.0.0b226, recorded byte for byte but for the names of the data.
"""

from __future__ import annotations

import json

import pytest

from libs.access.keys import ApiKey
from tests.support.access import bearer
from tests.support.metering_world import World

CLIENT = {"user-agent": "python-openmeter/0.0.0 Python/3.11.7", "accept-encoding": "gzip, deflate", "accept": "*/*"}
FIRST = (
    '{"id": "e-1", "source": "my-app", "specversion": "1.0", "type": "prompt", "subject": "%s", '
    '"time": "2026-11-24T10:00:00Z", "data": {"maestro.ingest.events": "15", "model": "m"}}'
)
SECOND = (
    '{"id": "e-2", "source": "my-app", "specversion": "1.0", "type": "prompt", "subject": "%s", '
    '"data": {"maestro.ingest.events": 15}}'
)
BOTH = f"[{FIRST}, {SECOND}]"


async def sent(world: World, key: ApiKey, media: str, body: str) -> tuple[int, bytes]:
    headers = CLIENT | {"content-type": media, "authorization": bearer(key)}
    answer = await world.client.post("/api/v1/events", content=body.encode(), headers=headers)
    return answer.status_code, answer.content


@pytest.mark.parametrize(
    ("media", "form", "total"),
    [
        ("application/cloudevents+json", FIRST, 15),  # events.ingest_event
        ("application/cloudevents-batch+json", BOTH, 30),  # events.ingest_events
        ("application/json", BOTH, 30),  # events.ingest_events_json, of a list
        ("application/json", SECOND, 15),  # events.ingest_events_json, of one
    ],
    ids=["one", "a batch", "a list", "one without time"],
)
async def test_what_the_client_sends_is_taken_and_counted_once(world: World, media: str, form: str, total: int) -> None:
    tenant = await world.new_tenant()
    body = form.replace("%s", tenant)

    answers = [await sent(world, world.keys[tenant], media, body) for _ in range(2)]

    assert answers == [(204, b""), (204, b"")]
    await world.until_all_is_counted()
    assert await world.total(tenant) == total


async def test_a_refusal_has_the_shape_that_the_client_reads(world: World) -> None:
    tenant = await world.new_tenant()

    status, body = await sent(world, world.keys[tenant], "application/cloudevents+json", "{")

    assert status == 400
    assert {"type", "title", "status", "detail"} <= json.loads(body).keys()
