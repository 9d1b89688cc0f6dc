"""A signed invoice folder on disk, and how to be without a network."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.signing.bundle import sign_blob
from libs.signing.keys import SigningKey
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME, Manifest, Subject

CHECKOUT = Path(__file__).resolve().parents[2]
SUBJECT = Subject(kind="invoice", tenant_id="tnt_aaaaaaaaaaaaaaaaaaaa", number="MST-000001", period="2026-10")
CONTENTS = {"invoice.json": b'{"total":"12.50"}', "invoice.csv": b"metric,value\ngql_calls,1000\n"}


@dataclass(frozen=True)
class SignedFolder:
    """Where the files lie, and the public key that checks them."""

    folder: Path
    key_file: Path

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST_NAME

    @property
    def bundle(self) -> Path:
        return self.folder / BUNDLE_NAME


def make_signed_folder(root: Path, key: SigningKey) -> SignedFolder:
    signed = SignedFolder(root / "invoice", root / "evidence.pub.pem")
    signed.folder.mkdir()
    raw = Manifest.of(SUBJECT, CONTENTS).to_bytes()
    for name, content in {**CONTENTS, MANIFEST_NAME: raw, BUNDLE_NAME: sign_blob(raw, key)}.items():
        (signed.folder / name).write_bytes(content)
    key.public.save(signed.key_file)
    return signed


def verify_command(signed: SignedFolder) -> list[str]:
    program = [sys.executable, "-m", "services.evidence.cli"]
    return [*program, "verify", str(signed.folder), "--key", str(signed.key_file)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


def without_network() -> list[str]:
    """The command that runs another in an empty network namespace; skips the test where the kernel forbids it."""
    unshare = shutil.which("unshare")
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    if unshare is None or run([unshare, *flags, "true"]).returncode != 0:
        pytest.skip("an empty network namespace needs `unshare` and a kernel that allows it")
    return [unshare, *flags]
