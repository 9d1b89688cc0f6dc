"""Is the broker ready? Asked as a client would: metadata, then a group's coordinator. An open port says nothing."""

from __future__ import annotations

import logging

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    for_code,
)

from deploy.local.parts import NotReady, not_ready

PROBE_GROUP = "maestro.probe"
REQUEST_TIMEOUT_MS = 4000
GROUP_NOT_FOUND = 69  # Kafka protocol error code: the coordinator has loaded and knows no such group
LOADED = (0, GROUP_NOT_FOUND)

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a refused connection is an answer here, not an event


async def ask_broker(bootstrap: str) -> None:
    """Return when the broker at `bootstrap` answers for its metadata and its group coordinator has loaded.

    Raises:
        NotReady: no answer yet, or "coordinator loading", which a fresh broker says for a moment.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.start()
        await _ask_coordinator(client)
    except KafkaConnectionError as problem:
        raise NotReady("it does not listen yet") from problem
    except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError) as problem:
        raise NotReady("the group coordinator is loading") from problem
    except (KafkaError, OSError, TimeoutError) as problem:
        raise not_ready(problem) from problem
    finally:
        await client.close()


async def _ask_coordinator(client: AIOKafkaAdminClient) -> None:
    for response in await client.describe_consumer_groups([PROBE_GROUP]):
        for group in response.groups:
            if group[0] not in LOADED:
                raise for_code(group[0])
