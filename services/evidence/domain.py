"""What may be signed, and which key may sign: decisions from values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from libs.bus.audit import SUFFIX
from libs.schemas.events import ChangeRecorded, InvoiceIssued, ManifestSigned
from libs.schemas.values import TenantId, rfc3339
from libs.signing.bundle import sign_blob, verify_blob
from libs.signing.digests import from_base64, sha256_hex
from libs.signing.errors import SigningError
from libs.signing.keys import PublicKey, SigningKey
from libs.signing.manifest import FileEntry, Manifest, Subject
from services.evidence.errors import (
    DigestMismatch,
    ManifestRefused,
    NumberSigned,
    SigningKeyReplaced,
    SubjectMismatch,
    SubjectSigned,
)

INVOICE: Final = "invoice"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A signed manifest. `digest` names its bytes and `bundle_digest` those of its signature bundle (SHA-256, hex)."""

    digest: str
    bundle_digest: str
    kind: Literal["invoice"]
    subject_id: str
    tenant_id: TenantId
    number: str
    period: str
    key_fingerprint: str
    signed_at: datetime

    def settle(self, held: Sequence[Artifact]) -> Artifact | None:
        """Return which of `held`, that have its digest, subject or number, is the same; None where there are none.

        Raises SubjectSigned or NumberSigned where one of them contradicts it: what was signed first stands.
        """
        for one in held:
            if one.subject_id != self.subject_id:
                raise NumberSigned(
                    f"{self.kind} {self.number} was signed as {one.subject_id} of {one.tenant_id} at"
                    f" {rfc3339(one.signed_at)}; this one is {self.subject_id} of {self.tenant_id}"
                )
            if one.digest != self.digest:
                raise SubjectSigned(
                    f"{self.kind} {self.subject_id} was signed as {one.number}, manifest {one.digest}, at"
                    f" {rfc3339(one.signed_at)}; this one is {self.number}, manifest {self.digest}"
                )
        return held[0] if held else None


@dataclass(frozen=True, slots=True)
class Signed:
    """An artifact with the two contents that are kept for it."""

    artifact: Artifact
    manifest: bytes
    bundle: bytes

    def fact(self) -> ManifestSigned:
        """What the others are told."""
        return ManifestSigned(
            tenant_id=self.artifact.tenant_id,
            subject_kind=self.artifact.kind,
            subject_id=self.artifact.subject_id,
            manifest_sha=self.artifact.digest,
            bundle=self.bundle.decode("ascii"),
            key_fingerprint=self.artifact.key_fingerprint,
            signed_at=self.artifact.signed_at,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trusted key signed a manifest. `manifest` and `signer` are set only if so, `code` and `why` if not."""

    manifest: Manifest | None = None
    signer: PublicKey | None = None
    code: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that somebody made: `actor` is a pseudonym, `service` the owner of the topic that it came on.

    `entry_id` is its place in our record, in the order in which the changes reached us; None before it is kept.
    """

    event_id: str
    service: str
    action: str
    subject: str
    tenant_id: str | None
    details: dict[str, str]
    actor: str
    request_id: str
    reason: str | None
    changed_at: datetime
    recorded_at: datetime
    entry_id: int | None = None


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries: those that fit all that is named."""

    service: str | None = None
    actor: str | None = None
    subject: str | None = None
    tenant_id: str | None = None


def entry_of(change: ChangeRecorded, event_id: str, topic: str, now: datetime) -> AuditEntry:
    """Return the entry of a change that came on `topic`, `<service>-audit`, whose owner alone can write to it."""
    return AuditEntry(
        event_id=event_id,
        service=topic.removesuffix(SUFFIX),
        action=change.action,
        subject=change.subject,
        tenant_id=change.tenant_id,
        details=change.details,
        actor=change.actor,
        request_id=change.request_id,
        reason=change.reason,
        changed_at=change.changed_at,
        recorded_at=now,
    )


def manifest_of(invoice: InvoiceIssued) -> bytes:
    """The exact bytes to sign.

    They must have the digest that came with them and speak of this very invoice and its files, or an invoice could
    vouch for another's content. Raises DigestMismatch, ManifestRefused or SubjectMismatch.
    """
    content = from_base64(invoice.manifest)
    if content is None:
        raise ManifestRefused("the manifest is not base64")
    if sha256_hex(content) != invoice.manifest_sha:
        raise DigestMismatch(f"the manifest has SHA-256 {sha256_hex(content)}, not {invoice.manifest_sha}")
    try:
        manifest, expected = Manifest.from_bytes(content), _expected(invoice)
    except SigningError as error:
        raise ManifestRefused(str(error)) from error
    if manifest != expected:
        raise SubjectMismatch(f"the manifest of invoice {invoice.number} names another invoice or other files")
    return content


def sign(invoice: InvoiceIssued, key: SigningKey, now: datetime) -> Signed:
    """Sign the invoice's manifest as a blob. Raises as `manifest_of`."""
    content = manifest_of(invoice)
    bundle = sign_blob(content, key)
    artifact = Artifact(
        digest=invoice.manifest_sha,
        bundle_digest=sha256_hex(bundle),
        kind=INVOICE,
        subject_id=invoice.invoice_id,
        tenant_id=invoice.tenant_id,
        number=invoice.number,
        period=invoice.period,
        key_fingerprint=key.public.fingerprint,
        signed_at=now,
    )
    return Signed(artifact, content, bundle)


def judge(manifest: bytes, bundle: bytes, trusted: list[PublicKey]) -> Verdict:
    """Form first, then the signature: an empty manifest is refused even if it was signed."""
    try:
        parsed = Manifest.from_bytes(manifest)
        return Verdict(manifest=parsed, signer=verify_blob(manifest, bundle, trusted))
    except SigningError as error:
        return Verdict(code=error.code, why=str(error))


def succession(in_force: str | None, loaded: str, replaces: str) -> bool:
    """Whether the key `loaded` is new and to be admitted; False where it is the one in force.

    All are fingerprints; `replaces` is the operator's word for which key is given up. Raises SigningKeyReplaced.
    """
    if loaded == in_force:
        return False
    if in_force is None or replaces == in_force:
        return True
    raise SigningKeyReplaced(
        f"this database's artifacts were signed by the key {in_force}, but the key file holds {loaded}; "
        f"put the old file back, or, if it is lost, start once with MAESTRO_SIGNING_KEY_REPLACES={in_force}"
    )


def _expected(invoice: InvoiceIssued) -> Manifest:
    subject = Subject(kind=INVOICE, tenant_id=invoice.tenant_id, number=invoice.number, period=invoice.period)
    files = sorted(invoice.files, key=lambda file: file.name)
    return Manifest(subject, tuple(FileEntry(file.name, file.size, file.sha256) for file in files))
