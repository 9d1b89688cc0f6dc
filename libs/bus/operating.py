"""What an operator does by a command is an act like a request's: pseudonymous actor, request id, reason, record.

The record is said in the store that the command changes, in the transaction of the change. What changes the broker
alone is said in identity's store, once before (`<noun>.<verb>_begun`: no change lacks its record, whatever dies) and
once after.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from libs.bus.audit import Change, record_change
from libs.runtime.actors import Pseudonyms, own_login
from libs.runtime.acts import Act, BadReason, checked_reason
from libs.runtime.errors import Broken
from libs.runtime.settings import ServiceSettings, secret_from
from libs.store.pool import Pool, Tx, open_pool, transaction
from libs.store.roles import Role

NOT_GIVEN: Final = "not given"  # in tables of ours whose reason is no event's
BROKERS_KEEPER: Final = "identity"  # whose store keeps what is done to the broker


def act_of_operator(settings: ServiceSettings, reason: str | None) -> Act:
    """Return the act of who runs this command, under a request id of its own.

    Raises BadReason for no reason, or one that cannot be kept; Broken without the key of pseudonyms.
    """
    key = secret_from(settings.actor_key_file)
    if key is None:
        raise Broken("MAESTRO_ACTOR_KEY_FILE names no key for the pseudonym of who runs this command")
    kept = None if reason is None else checked_reason(reason, given_by="--reason")
    if kept is None:
        raise BadReason("say why by --reason")
    return Act(Pseudonyms(key).of_login(own_login()), uuid.uuid4().hex, kept)


def announcement(act: Act) -> str:
    """Return the line that tells who runs a command what evidence will show it under."""
    return f"request {act.request_id} by {act.actor}"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a command changes at `service`; the other fields are as in Change."""

    service: str
    action: str
    subject: str
    details: Mapping[str, object]


async def record_operation(tx: Tx, act: Act, done: Operation) -> None:
    """Say that `act` did this, at the transaction's own time, if and only if `tx` commits."""
    details = {name: str(value) for name, value in done.details.items()}
    change = Change(done.action, done.subject, await tx.fetchval("SELECT now()"), details=details)
    await record_change(tx, done.service, act, change)


class BrokersRecord:
    """The record of what one command does to the broker."""

    def __init__(self, pool: Pool, act: Act) -> None:
        """Say it in the store of `pool`, identity's."""
        self._pool = pool
        self._act = act

    async def say(self, action: str, subject: str, **details: object) -> None:
        """Say it, durably."""
        async with transaction(self._pool) as tx:
            await record_operation(tx, self._act, Operation(BROKERS_KEEPER, action, subject, details))


@asynccontextmanager
async def brokers_record(settings: ServiceSettings, act: Act) -> AsyncIterator[BrokersRecord]:
    """Open identity's store, where `settings` lead to it, while the block runs."""
    pool = await open_pool(settings, Role.WORKER, name=f"{BROKERS_KEEPER}.operator", max_size=1)
    try:
        yield BrokersRecord(pool, act)
    finally:
        await pool.close()
