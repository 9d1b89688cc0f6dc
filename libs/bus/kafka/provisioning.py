"""All that the services need of a broker before they start: their topics, their logins, and what each may do."""

from __future__ import annotations

from collections.abc import Mapping

from libs.bus.acls import Drift
from libs.bus.kafka.access import KafkaAccess
from libs.bus.kafka.administration import CLIENT_ID, administration
from libs.bus.kafka.bus import KafkaBus
from libs.schemas.topics import registry


async def topics_missing(operator: KafkaAccess) -> list[str]:
    """Return which topics of the registry, dead letter topics included, the broker does not have."""
    specs = registry().values()
    wanted = {spec.name for spec in specs} | {spec.dead_letter_topic for spec in specs if spec.dead_letter}
    bus = KafkaBus(operator, client_id=CLIENT_ID)
    await bus.start()
    try:
        return sorted(wanted - (await bus.topic_ids(wanted)).keys())
    finally:
        await bus.stop()


async def provision(operator: KafkaAccess, passwords: Mapping[str, str]) -> Drift:
    """Make what is missing of the topics, set the passwords by login, apply the ACLs; safe to repeat.

    Returns what the ACLs lacked or had too much. Raises Broken where the operator's login may not do it.
    """
    specs = list(registry().values())
    bus = KafkaBus(operator, client_id=CLIENT_ID)
    await bus.start()
    try:
        await bus.ensure_topics(specs)
    finally:
        await bus.stop()
    async with administration(operator) as broker:
        if passwords:
            await broker.set_passwords(passwords)
        return await broker.apply_acls(specs)
