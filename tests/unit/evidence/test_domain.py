"""What may be signed, and by which key."""

import base64
from datetime import UTC, datetime

import pytest

from libs.schemas.events import InvoiceFile, InvoiceIssued
from libs.signing.bundle import verify_blob
from libs.signing.digests import sha256_hex
from libs.signing.keys import SigningKey
from services.evidence.domain import judge, manifest_of, sign, succession
from services.evidence.errors import DigestMismatch, ManifestRefused, SigningKeyReplaced, SubjectMismatch
from tests.support.issued_invoices import OTHER_TENANT, TENANT, issued_invoice

NOW = datetime(2026, 11, 1, 0, 0, 5, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def carrying(manifest: bytes) -> InvoiceIssued:
    return issued_invoice().model_copy(
        update={"manifest": base64.b64encode(manifest).decode(), "manifest_sha": sha256_hex(manifest)}
    )


def test_a_manifest_is_signed_as_the_bytes_that_came(key: SigningKey) -> None:
    invoice = issued_invoice()

    signed = sign(invoice, key, NOW)

    assert signed.manifest == base64.b64decode(invoice.manifest)
    assert verify_blob(signed.manifest, signed.bundle, [key.public]) == key.public


def test_the_fact_says_what_was_signed_by_which_key_and_when(key: SigningKey) -> None:
    invoice = issued_invoice()

    fact = sign(invoice, key, NOW).fact()

    assert (fact.tenant_id, fact.subject_kind, fact.subject_id) == (TENANT, "invoice", invoice.invoice_id)
    assert (fact.manifest_sha, fact.key_fingerprint, fact.signed_at) == (
        invoice.manifest_sha,
        key.public.fingerprint,
        NOW,
    )
    assert verify_blob(base64.b64decode(invoice.manifest), fact.bundle.encode(), [key.public]) == key.public


def test_signing_the_same_invoice_again_gives_the_same_bundle(key: SigningKey) -> None:
    first, second = sign(issued_invoice(), key, NOW), sign(issued_invoice(), key, NOW)

    assert first == second


def test_a_manifest_that_was_changed_on_the_way_is_refused() -> None:
    invoice = issued_invoice()
    changed = base64.b64decode(invoice.manifest).replace(b"2026-10", b"2026-09")

    with pytest.raises(DigestMismatch, match="not " + invoice.manifest_sha):
        manifest_of(invoice.model_copy(update={"manifest": base64.b64encode(changed).decode()}))


@pytest.mark.parametrize("text", ["***", "A", "é"])
def test_a_manifest_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ManifestRefused, match="not base64"):
        manifest_of(issued_invoice().model_copy(update={"manifest": text}))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b'{"files":[],"schema":"x","subject":{}}'])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestRefused):
        manifest_of(carrying(content))


def test_a_manifest_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(ManifestRefused, match="canonical"):
        manifest_of(carrying(base64.b64decode(issued_invoice().manifest) + b"\n"))


@pytest.mark.parametrize(
    "other",
    [{"tenant_id": OTHER_TENANT}, {"number": "MST-000002"}, {"period": "2026-11"}],
    ids=["tenant", "number", "period"],
)
def test_a_manifest_of_another_invoice_is_refused(other: dict[str, str]) -> None:
    with pytest.raises(SubjectMismatch):
        manifest_of(issued_invoice().model_copy(update=other))


def test_a_manifest_that_lists_other_files_than_the_invoice_is_refused() -> None:
    invoice = issued_invoice()
    more = (*invoice.files, InvoiceFile(name="smuggled.csv", size=1, sha256=OLD))

    with pytest.raises(SubjectMismatch):
        manifest_of(invoice.model_copy(update={"files": more}))


def test_an_invoice_whose_file_names_are_unsafe_is_refused() -> None:
    invoice = issued_invoice()
    unsafe = (InvoiceFile(name="../invoice.json", size=1, sha256=OLD),)

    with pytest.raises(ManifestRefused, match="plain name"):
        manifest_of(invoice.model_copy(update={"files": unsafe}))


def test_a_good_signature_is_judged_good_and_its_key_named(key: SigningKey) -> None:
    signed = sign(issued_invoice(), key, NOW)

    verdict = judge(signed.manifest, signed.bundle, [SigningKey.generate().public, key.public])

    assert verdict.signer == key.public
    assert verdict.manifest is not None
    assert verdict.manifest.subject.number == "MST-000001"


def test_a_signature_by_a_stranger_is_judged_by_its_code(key: SigningKey) -> None:
    signed = sign(issued_invoice(), SigningKey.generate(), NOW)

    verdict = judge(signed.manifest, signed.bundle, [key.public])

    assert (verdict.signer, verdict.manifest, verdict.code) == (None, None, "unknown_key")


def test_a_malformed_manifest_is_judged_before_its_signature(key: SigningKey) -> None:
    verdict = judge(b"{}", b"not even a bundle", [key.public])

    assert verdict.code == "malformed_manifest"


def test_the_first_key_is_admitted() -> None:
    assert succession(None, NEW, replaces="") is True


def test_the_key_in_force_needs_no_admission() -> None:
    assert succession(OLD, OLD, replaces="") is False


def test_another_key_is_refused_with_the_two_remedies() -> None:
    with pytest.raises(SigningKeyReplaced, match=f"put the old file back.*MAESTRO_SIGNING_KEY_REPLACES={OLD}"):
        succession(OLD, NEW, replaces="")


def test_another_key_is_admitted_on_the_operators_word() -> None:
    assert succession(OLD, NEW, replaces=OLD) is True


def test_the_operators_word_for_some_other_key_does_not_count() -> None:
    with pytest.raises(SigningKeyReplaced):
        succession(OLD, NEW, replaces=NEW)
