"""From an issued invoice to a signed manifest: one effect, whatever is repeated, refused or rolled back."""

import asyncio
import base64
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.access.principal import Principal
from libs.access.scopes import OPERATOR_SCOPES
from libs.bus.envelope import decode, event_message
from libs.bus.memory import MemoryBus
from libs.bus.relay import Relay
from libs.bus.topics import topics_of
from libs.runtime.clock import ManualClock
from libs.schemas.events import InvoiceIssued, ManifestSigned
from libs.signing.bundle import verify_blob
from libs.signing.keys import SigningKey
from libs.store.opening import Pools
from libs.store.pool import Pool, transaction
from services.evidence.consumer import invoice_consumer
from services.evidence.errors import NumberSigned, SigningKeyReplaced
from services.evidence.handlers import Reading, Signer, adopt_key
from services.evidence.store.keys import add_key, trusted_keys
from services.evidence.store.objects import ObjectStore
from tests.support.conditions import eventually
from tests.support.issued_invoices import OTHER_TENANT, issued_invoice, received

NOW = datetime(2026, 11, 1, 0, 0, 5, tzinfo=UTC)
OPERATOR = Principal("operator", "an-operator", frozenset(OPERATOR_SCOPES), None, frozenset(), lambda _: True)


@dataclass
class Evidence:
    """Evidence's consumer and relay on a real database and a broker in memory."""

    pools: Pools
    bus: MemoryBus
    signer: Signer

    @property
    def pool(self) -> Pool:
        return self.pools.worker

    async def hears(self, *invoices: InvoiceIssued) -> None:
        """Announce each invoice as an event of its own, and let all of them be handled and what follows published."""
        await self.bus.publisher.publish(
            [
                event_message("invoices", one, key=one.tenant_id, event_id=uuid.uuid4(), at=one.issued_at)
                for one in invoices
            ]
        )
        consumer = asyncio.create_task(invoice_consumer(self.bus, self.pool, "0", self.signer).run())
        try:
            await eventually(self._has_caught_up, "all invoices are handled")
        finally:
            consumer.cancel()
            with suppress(asyncio.CancelledError):
                await consumer
        await Relay(self.pool, self.bus, service="evidence", instance="0").drain()

    def said(self) -> list[ManifestSigned]:
        return [decode(record, ManifestSigned).data for record in self.bus.records("evidence-entries")]

    async def kept(self) -> list[str]:
        return [one.digest for one in await Reading(self.pools, self.signer.objects).artifacts(OPERATOR, None, None, 9)]

    def refused(self) -> list[str]:
        letters = self.bus.records("invoices-dlq")
        return [(record.header("maestro_reason") or b"").decode() for record in letters]

    async def _has_caught_up(self) -> bool:
        async with transaction(self.pool) as tx:
            reached = await tx.fetchval("SELECT coalesce(sum(next), 0) FROM consumer_offset")
        return bool(reached == len(self.bus.records("invoices")))


@pytest.fixture
async def evidence(pools: Pools, key: SigningKey, objects: ObjectStore) -> Evidence:
    await adopt_key(pools.worker, key.public, replaces="")
    bus = MemoryBus()
    await bus.ensure_topics(topics_of("evidence"))
    return Evidence(pools, bus, Signer(key, objects, ManualClock(NOW)))


async def test_an_issued_invoice_is_signed_kept_and_announced(
    evidence: Evidence, key: SigningKey, objects: ObjectStore
) -> None:
    invoice = issued_invoice()

    await evidence.hears(invoice)

    [entry] = evidence.said()
    manifest = base64.b64decode(invoice.manifest)
    assert verify_blob(manifest, entry.bundle.encode(), [key.public]) == key.public
    assert (entry.manifest_sha, entry.subject_id, entry.signed_at) == (invoice.manifest_sha, invoice.invoice_id, NOW)
    kept = await Reading(evidence.pools, objects).artifact(OPERATOR, invoice.manifest_sha)
    assert kept is not None
    assert objects.get(kept.digest) == manifest
    assert objects.get(kept.bundle_digest) == entry.bundle.encode()


async def test_an_invoice_that_is_announced_again_is_signed_once_and_its_signature_said_again(
    evidence: Evidence, key: SigningKey
) -> None:
    await evidence.hears(issued_invoice(), issued_invoice())
    newer = SigningKey.generate()
    await adopt_key(evidence.pool, newer.public, replaces=key.public.fingerprint)
    evidence.signer = replace(evidence.signer, key=newer, clock=ManualClock(NOW + timedelta(days=1)))
    await evidence.hears(issued_invoice())

    first, *again = evidence.said()
    assert again == [first] * 2
    assert await evidence.kept() == [issued_invoice().manifest_sha]
    assert evidence.refused() == []


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (issued_invoice("MST-000001", text=" "), "subject_signed"),
        (issued_invoice("MST-000002", invoice_id="invoice-of-MST-000001"), "subject_signed"),
        (issued_invoice("MST-000001", invoice_id="another"), "number_signed"),
        (issued_invoice("MST-000001", invoice_id="another", text=" "), "number_signed"),
        (issued_invoice("MST-000001", tenant_id=OTHER_TENANT, invoice_id="another"), "number_signed"),
    ],
    ids=["other bytes", "another number", "another id", "another id with other bytes", "another tenant"],
)
async def test_what_contradicts_a_signed_invoice_is_set_aside_and_the_first_stands(
    evidence: Evidence, second: InvoiceIssued, code: str
) -> None:
    await evidence.hears(issued_invoice())

    await evidence.hears(second)

    assert evidence.refused() == [code]
    assert await evidence.kept() == [issued_invoice().manifest_sha]
    assert len(evidence.said()) == 1


async def test_of_rivals_that_are_signed_at_once_exactly_one_is(evidence: Evidence) -> None:
    rivals = [issued_invoice(invoice_id=f"rival {number}", text=str(number)) for number in range(4)]

    async def sign(invoice: InvoiceIssued) -> None:
        async with transaction(evidence.pool) as tx:
            await evidence.signer.on_invoice_issued(tx, received(invoice))

    ends = await asyncio.gather(*map(sign, rivals), return_exceptions=True)

    assert [type(end) for end in ends if end is not None] == [NumberSigned] * 3
    assert len(await evidence.kept()) == 1


async def test_the_first_bundle_stands_after_the_key_was_replaced(
    evidence: Evidence, key: SigningKey, objects: ObjectStore
) -> None:
    await evidence.hears(issued_invoice())
    newer = SigningKey.generate()
    await adopt_key(evidence.pool, newer.public, replaces=key.public.fingerprint)

    evidence.signer = replace(evidence.signer, key=newer)
    await evidence.hears(issued_invoice(), issued_invoice("MST-000002"))

    reading = Reading(evidence.pools, objects)
    first = await reading.artifact(OPERATOR, issued_invoice().manifest_sha)
    second = await reading.artifact(OPERATOR, issued_invoice("MST-000002").manifest_sha)
    assert first is not None
    assert second is not None
    assert (first.key_fingerprint, second.key_fingerprint) == (key.public.fingerprint, newer.public.fingerprint)
    assert len(await evidence.kept()) == 2


async def test_a_changed_manifest_is_set_aside_and_the_next_invoice_still_signed(evidence: Evidence) -> None:
    changed = issued_invoice().model_copy(update={"manifest": base64.b64encode(b"{}").decode()})

    await evidence.hears(changed, issued_invoice("MST-000002"))

    assert [entry.subject_id for entry in evidence.said()] == ["invoice-of-MST-000002"]
    assert evidence.refused() == ["digest_mismatch"]


async def test_a_crash_after_the_files_and_before_the_row_loses_and_doubles_nothing(
    evidence: Evidence, objects: ObjectStore
) -> None:
    invoice = issued_invoice()

    async def sign_and_crash() -> None:
        async with transaction(evidence.pool) as tx:
            await evidence.signer.on_invoice_issued(tx, received(invoice))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sign_and_crash()
    written_at = objects.path_of(invoice.manifest_sha).stat().st_mtime_ns

    await evidence.hears(invoice)

    assert len(evidence.said()) == 1
    assert objects.path_of(invoice.manifest_sha).stat().st_mtime_ns == written_at


async def test_two_processes_that_sign_the_same_digest_at_once_leave_one_signature(evidence: Evidence) -> None:
    invoice = issued_invoice()

    async def sign() -> None:
        async with transaction(evidence.pool) as tx:
            await evidence.signer.on_invoice_issued(tx, received(invoice))

    await asyncio.gather(sign(), sign(), sign())
    await Relay(evidence.pool, evidence.bus, service="evidence", instance="0").drain()

    assert await evidence.kept() == [invoice.manifest_sha]
    assert {entry.bundle for entry in evidence.said()} == {evidence.said()[0].bundle}


async def test_artifacts_are_listed_newest_first_page_by_page(evidence: Evidence, objects: ObjectStore) -> None:
    clock = ManualClock(NOW)
    evidence.signer = replace(evidence.signer, clock=clock)
    await evidence.hears(issued_invoice("MST-000001"))
    clock.advance(timedelta(microseconds=1))
    await evidence.hears(issued_invoice("MST-000002"), issued_invoice("MST-000003"))

    reading = Reading(evidence.pools, objects)
    whole = await reading.artifacts(OPERATOR, None, None, 10)
    rest = await reading.artifacts(OPERATOR, None, (whole[0].signed_at, whole[0].digest), 10)

    assert [one.signed_at for one in whole] == [NOW + timedelta(microseconds=1)] * 2 + [NOW]
    assert rest == whole[1:]


async def test_a_restart_with_the_same_key_changes_nothing(evidence: Evidence, key: SigningKey) -> None:
    await adopt_key(evidence.pool, key.public, replaces="")

    async with transaction(evidence.pool) as tx:
        assert await trusted_keys(tx) == [key.public]


async def test_a_start_with_another_key_stops_until_the_operator_says_so(evidence: Evidence, key: SigningKey) -> None:
    other = SigningKey.generate().public

    with pytest.raises(SigningKeyReplaced):
        await adopt_key(evidence.pool, other, replaces="")
    await adopt_key(evidence.pool, other, replaces=key.public.fingerprint)

    async with transaction(evidence.pool) as tx:
        assert await trusted_keys(tx) == [other, key.public]


@pytest.mark.parametrize("beginning", [True, False], ids=["two beginnings", "two successors"])
async def test_the_chain_of_keys_cannot_fork(evidence: Evidence, key: SigningKey, beginning: bool) -> None:
    replaces = None if beginning else key.public.fingerprint
    async with transaction(evidence.pool) as tx:
        await add_key(tx, SigningKey.generate().public, replaces=key.public.fingerprint)

    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(evidence.pool) as tx:
            await add_key(tx, SigningKey.generate().public, replaces=replaces)
