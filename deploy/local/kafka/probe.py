"""Is the broker ready, and has it all that services need? Asked and made as a client, logged in as the operator.

An open port says nothing: metadata and a group's coordinator are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    for_code,
)

from deploy.local.credentials import password
from deploy.local.errors import PartFailed
from deploy.local.parts import NotReady, not_ready
from libs.bus.kafka.access import KafkaAccess, connecting
from libs.bus.kafka.provisioning import provision
from libs.runtime.errors import Broken, Unavailable

PROBE_GROUP = "maestro.probe"
REQUEST_TIMEOUT_MS = 4000
GROUP_NOT_FOUND = 69  # Kafka protocol error code: the coordinator has loaded and knows no such group
LOADED = (0, GROUP_NOT_FOUND)

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a refused connection is an answer here, not an event


async def ask_broker(operator: KafkaAccess) -> None:
    """Return when the broker lets the operator in, answers for its metadata, and its group coordinator has loaded.

    Raises:
        NotReady: no answer yet, or "coordinator loading", which a fresh broker says for a moment.
        PartFailed: it refuses the login.
    """
    try:
        async with AsyncExitStack() as stack:
            client = AIOKafkaAdminClient(**operator.client_settings(), request_timeout_ms=REQUEST_TIMEOUT_MS)
            stack.push_async_callback(client.close)
            async with connecting(operator, "connecting"):
                await client.start()
            await _ask_coordinator(client)
    except Broken as refusal:
        raise PartFailed(refusal.detail) from refusal
    except Unavailable as problem:
        raise NotReady("it does not listen yet") from problem
    except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError) as problem:
        raise NotReady("the group coordinator is loading") from problem
    except (KafkaError, OSError, TimeoutError) as problem:
        raise not_ready(problem) from problem


async def furnish(operator: KafkaAccess, users: Mapping[str, Path]) -> None:
    """Make the topics, the logins of `users` with the passwords of their files, and the ACLs; safe to repeat.

    Raises:
        OSError: the broker went away meanwhile.
        PartFailed: the operator's login may not do it.
    """
    try:
        await provision(operator, {user: password(file) for user, file in users.items()})
    except Broken as refusal:
        raise PartFailed(refusal.detail) from refusal
    except Unavailable as problem:
        raise ConnectionError(problem.detail) from problem


async def _ask_coordinator(client: AIOKafkaAdminClient) -> None:
    for response in await client.describe_consumer_groups([PROBE_GROUP]):
        for group in response.groups:
            if group[0] not in LOADED:
                raise for_code(group[0])
