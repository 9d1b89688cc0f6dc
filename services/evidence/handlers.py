"""What evidence does: load, decide (domain), save."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from libs.access.principal import Principal
from libs.access.reach import rows_of
from libs.bus.envelope import Received
from libs.bus.outbox import say
from libs.runtime.clock import Clock
from libs.schemas.events import ChangeRecorded, InvoiceIssued
from libs.schemas.values import TenantId
from libs.signing.keys import PublicKey, SigningKey
from libs.store.opening import Pools
from libs.store.pool import Pool, Tx, transaction
from services.evidence.domain import (
    Artifact,
    AuditEntry,
    AuditQuery,
    Signed,
    Verdict,
    entry_of,
    judge,
    sign,
    succession,
)
from services.evidence.store.artifacts import add_artifact, artifacts_like, find_artifact, list_artifacts
from services.evidence.store.audit import add_entry, entries_before
from services.evidence.store.keys import add_key, fingerprint_in_force, trusted_keys
from services.evidence.store.objects import ObjectStore

ENTRIES_TOPIC = "evidence-entries"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs what others issue: each subject once, and each number once."""

    key: SigningKey
    objects: ObjectStore
    clock: Clock

    async def on_invoice_issued(self, tx: Tx, received: Received[InvoiceIssued]) -> None:
        """Sign the manifest, keep it with its bundle, and say so; where its digest is signed, say that again.

        Invoicing says an invoice again after its store was restored, and then lacks the signature too. Raises
        SubjectSigned and NumberSigned.
        """
        signed = sign(received.data, self.key, self.clock.now())
        if await self._say_again(tx, signed):
            return
        await asyncio.to_thread(self.objects.put, signed.manifest)
        await asyncio.to_thread(self.objects.put, signed.bundle)
        if await add_artifact(tx, signed.artifact):
            await say(tx, ENTRIES_TOPIC, signed.fact(), key=signed.artifact.tenant_id)
        else:  # another process was faster: with the same, or with what forbids this
            await self._say_again(tx, signed)

    async def _say_again(self, tx: Tx, signed: Signed) -> bool:
        """Say what stands for these bytes, with its own signature; False where nothing does."""
        standing = signed.artifact.settle(await artifacts_like(tx, signed.artifact))
        if standing is None:
            return False
        bundle = await asyncio.to_thread(self.objects.get, standing.bundle_digest)
        await say(tx, ENTRIES_TOPIC, Signed(standing, signed.manifest, bundle).fact(), key=standing.tenant_id)
        return True


@dataclass(frozen=True, slots=True)
class Recorder:
    """Keeps the changes that people make, as the services say them."""

    clock: Clock

    async def on_change_recorded(self, tx: Tx, received: Received[ChangeRecorded]) -> None:
        """Keep the change; again is no second entry."""
        entry = entry_of(received.data, received.meta.id, received.record.topic, self.clock.now())
        await add_entry(tx, entry)


async def adopt_key(pool: Pool, key: PublicKey, *, replaces: str) -> None:
    """Make sure that `key` is the one in force, recording it where it is new. Raises SigningKeyReplaced."""
    async with transaction(pool) as tx:
        in_force = await fingerprint_in_force(tx)
        if succession(in_force, key.fingerprint, replaces):
            await add_key(tx, key, replaces=in_force)


@dataclass(frozen=True, slots=True)
class Reading:
    """What callers may ask for."""

    pools: Pools
    objects: ObjectStore

    async def artifact(self, caller: Principal, digest: str) -> Artifact | None:
        """Return the artifact whose manifest has this digest, where the caller may see it."""
        async with rows_of(caller.visible, self.pools, caller, "an artifact is read") as tx:
            return await find_artifact(tx, digest)

    async def artifacts(
        self,
        caller: Principal,
        tenants: frozenset[TenantId] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[Artifact]:
        """Return one page, newest first, of these tenants (None: of all)."""
        async with rows_of(tenants, self.pools, caller, "artifacts are listed") as tx:
            return await list_artifacts(tx, tenants=tenants, before=before, limit=limit)

    async def audit(self, caller: Principal, asked: AuditQuery, before: int | None, limit: int) -> list[AuditEntry]:
        """Return one page of the record of changes, newest first."""
        async with rows_of(None, self.pools, caller, "the record of changes is read") as tx:
            return await entries_before(tx, asked, before, limit)

    async def content(self, digest: str) -> bytes:
        """Return the kept bytes of this digest, checked against it."""
        return await asyncio.to_thread(self.objects.get, digest)

    async def keys(self) -> list[PublicKey]:
        """Return all keys that signed here, the one in force first."""
        async with transaction(self.pools.api) as tx:
            return await trusted_keys(tx)

    async def verdict(self, manifest: bytes, bundle: bytes) -> Verdict:
        """Judge a manifest and its bundle by our own keys."""
        return judge(manifest, bundle, await self.keys())
