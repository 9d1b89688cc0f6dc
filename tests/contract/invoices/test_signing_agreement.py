"""What invoicing issues, evidence signs; what evidence says, invoicing takes; and a stranger can check the outcome."""

from pathlib import Path

import pytest

from libs.schemas.events import InvoiceIssued, ManifestSigned
from libs.signing.folder import verify_folder
from libs.signing.keys import SigningKey
from libs.signing.manifest import BUNDLE_NAME
from services.evidence.domain import sign
from services.invoicing.domain.closing import IssuedInvoice, SignedInvoice
from tests.support.invoicing import AFTER, copied, issued


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def invoice() -> IssuedInvoice:
    return issued([copied("gql_calls", 1, 1_000_000)])


@pytest.fixture
def signed(invoice: IssuedInvoice, key: SigningKey) -> SignedInvoice:
    """The invoice after both events went over the wire as JSON."""
    heard = InvoiceIssued.model_validate_json(invoice.event().model_dump_json())
    said = sign(heard, key, AFTER).fact()
    return invoice.sign(ManifestSigned.model_validate_json(said.model_dump_json()))


def test_an_issued_invoice_becomes_complete_with_evidences_word(signed: SignedInvoice, key: SigningKey) -> None:
    assert (signed.key_fingerprint, signed.signed_at) == (key.public.fingerprint, AFTER)


def test_the_complete_invoices_files_verify_in_a_folder(signed: SignedInvoice, key: SigningKey, tmp_path: Path) -> None:
    (tmp_path / BUNDLE_NAME).write_bytes(signed.bundle)
    written = [(tmp_path / name).write_bytes(content) for name, content in signed.invoice.files.items()]

    report = verify_folder(tmp_path, [key.public])

    assert report.is_verified
    assert len(report.findings) == len(written)
