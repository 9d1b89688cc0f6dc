"""quota without its limiter's store: an answer at once, and the right one."""

from __future__ import annotations

import asyncio

import pytest

from libs.bus.kafka import KafkaAccess
from services.quota.settings import QuotaSettings
from tests.integration.quota.conftest import OwnValkey
from tests.support.conditions import eventually
from tests.support.quota_service import running_quota

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_without_its_store_the_limiter_says_503_at_once_and_recovers(
    settings: QuotaSettings, kafka: KafkaAccess, own_valkey: OwnValkey
) -> None:
    own = {"redis_url": own_valkey.url, "redis_password_file": own_valkey.password_file, "redis_patience_ms": 500}
    async with running_quota(settings.model_copy(update=own), kafka) as quota:
        _, key = await quota.new_tenant()
        loop = asyncio.get_running_loop()

        async def has_come(status: int) -> bool:
            return (await quota.check(key)).status_code == status

        own_valkey.kill()
        await eventually(lambda: has_come(503), "the outage is noticed")
        begun_s = loop.time()
        answers = [await quota.check(key) for _ in range(50)]
        took_s = loop.time() - begun_s
        own_valkey.start()
        await eventually(lambda: has_come(200), "the store is back")

    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["error"] == "quota_unavailable"
    assert answers[0].headers["retry-after"] == "1"
    assert took_s < 12  # fifty answers from memory but for a probe now and then; without the breaker they took 25 s
