"""What identity does when asked: load, decide, save, and say it, in the transaction of the caller."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from libs.access.keys import Randomness, new_key
from libs.access.principal import Principal
from libs.bus.audit import Change, record_change
from libs.bus.outbox import say
from libs.runtime.acts import Act
from libs.runtime.clock import Clock
from libs.runtime.errors import NotFound
from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.identity import domain, store
from services.identity.domain import (
    Key,
    KeyAction,
    KeyOrder,
    KnownPlans,
    OperatorKey,
    Tenant,
    TenantOrder,
)

SERVICE = "identity"
TOPIC = "tenant-changes"
AT_START = Act(actor="set-up", request_id="start")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, with its text: the only moment at which the text is here."""

    key: Key
    text: str


@dataclass(frozen=True, slots=True)
class Registrar:
    """Registers tenants, in `region` unless they say otherwise, and issues keys of the environment `env`."""

    env: str
    region: str
    plans: KnownPlans
    clock: Clock
    randomness: Randomness

    def new_tenant_id(self) -> TenantId:
        """Return the id of a tenant that is about to be registered: the transaction that adds it is opened for it."""
        return domain.new_tenant_id(self.randomness)

    async def register_tenant(
        self, tx: Tx, tenant_id: TenantId, order: TenantOrder, caller: Principal, act: Act
    ) -> tuple[Tenant, NewKey]:
        """Add the tenant and its first key; raise what `domain.register` and `domain.issue_key` raise."""
        tenant = domain.register(order, tenant_id, self.plans, self.clock.now())
        await store.insert_tenant(tx, tenant)
        await _tell_tenant(tx, tenant, act)
        first = KeyOrder("tenant", domain.FIRST_KEY_NAME, tenant.tenant_id)
        return tenant, await self.issue_key(tx, first, caller, act)

    async def issue_key(self, tx: Tx, order: KeyOrder, caller: Principal, act: Act) -> NewKey:
        """Add a key; raise NotFound where its tenant does not exist, and what `domain.issue_key` raises."""
        if order.tenant_id is not None and not await store.lock_tenant(tx, order.tenant_id):
            raise NotFound(f"there is no tenant {order.tenant_id}")
        now = self.clock.now()
        standing = domain.Standing(
            known=await store.known_of(tx, order.act_for),
            live_count=await store.live_key_count(tx, order.kind, order.tenant_id, now),
        )
        made = new_key(self.env, self.randomness)
        key = domain.issue_key(order, made, standing, caller, now)
        await store.insert_key(tx, key)
        await _tell_key(tx, "key.issued", key, act)
        return NewKey(key, made.text)

    async def revoke_key(self, tx: Tx, key_id: str, caller: Principal, act: Act) -> Key:
        """Revoke the key and return it; again is no change. Raises NotFound where the caller may not see it."""
        held = await store.lock_key(tx, key_id)
        if held is None or not _sees(caller, held):
            raise NotFound(f"there is no key {key_id[:32]!r}, or it is not yours")
        key = domain.revoke(held, self.clock.now())
        if key != held:
            await store.revoke_key(tx, key)
            await _tell_key(tx, "key.revoked", key, act)
        return key

    async def adopt_operator_key(self, tx: Tx, given: OperatorKey | None) -> None:
        """Make `given`, which set-up wrote, the one live operator key, and revoke the one before it."""
        if given is None:
            _log.warning("set-up named no operator key: only keys that were made before work")
            return
        held = {key.key_id: key for key in await store.operator_keys(tx)}
        for key in domain.adopt_operator_key(given, list(held.values()), self.clock.now()):
            await (store.update_key if key.key_id in held else store.insert_key)(tx, key)
            await _tell_key(tx, "key.adopted" if key.revoked_at is None else "key.revoked", key, AT_START)
        if given.key_id in held and held[given.key_id].revoked_at is not None:
            _log.error("operator key %s was revoked: make a new one and write its digest file", given.key_id)


async def tenant_by_id(tx: Tx, tenant_id: TenantId) -> Tenant:
    """Return the tenant; raise NotFound where there is none."""
    tenant = await store.tenant_by_id(tx, tenant_id)
    if tenant is None:
        raise NotFound("there is no such thing, or it is not yours")
    return tenant


def _sees(caller: Principal, key: Key) -> bool:
    # Keys of edges and operators belong to no tenant: only an operator sees them.
    return caller.visible is None or key.tenant_id in caller.visible


async def _tell_tenant(tx: Tx, tenant: Tenant, act: Act) -> None:
    await _record(tx, act, domain.registration(tenant))
    await say(tx, TOPIC, domain.tenant_fact(tenant), key=domain.tenant_subject(tenant.tenant_id))


async def _tell_key(tx: Tx, action: KeyAction, key: Key, act: Act) -> None:
    await _record(tx, act, domain.key_change(action, key))
    await say(tx, TOPIC, domain.key_fact(key), key=domain.key_subject(key.key_id))


async def _record(tx: Tx, act: Act, change: Change) -> None:
    await store.append_change(tx, act, change)
    await record_change(tx, SERVICE, act, change)
