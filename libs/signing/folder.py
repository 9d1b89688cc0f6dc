"""Verifying a signed folder: each file listed, nothing missing, nothing extra, nothing changed.

The manifest and its bundle are read once, and what is read is what is verified, parsed and returned. Files are opened
by their exact listed name relative to the opened folder, so no name can lead out of it and no symbolic link is
followed; each is read once and no further than the size that was signed.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from libs.signing.bundle import BUNDLE_BYTES_MAX, read_bundle, verify_blob
from libs.signing.errors import SignatureMismatch, SigningError, TooLarge, UnknownKey, UnreadableFolder
from libs.signing.keys import PublicKey
from libs.signing.manifest import (
    BUNDLE_NAME,
    MANIFEST_BYTES_MAX,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
)

# Large enough that hashing dominates, small enough that memory does not grow with the file.
CHUNK_BYTES = 1024 * 1024
# Each extra file is named; past this many the folder is something else, and listing on would only cost memory.
EXTRAS_MAX = 1_000


class Status(StrEnum):
    """The verdict on one file."""

    VERIFIED = "verified"
    MISSING = "missing"  # listed, not there
    EXTRA = "extra"  # there, not listed
    CHANGED = "changed"  # there, with another content than was signed
    UNREADABLE = "unreadable"  # there, but not a regular file, or not to be opened
    MALFORMED = "malformed"  # a manifest or bundle whose form is wrong, whoever signed it
    UNTRUSTED = "untrusted"  # well formed, but not signed by a trusted key


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one file, and why."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class FolderReport:
    """Everything that was looked at. `manifest` and `signer` are set only once the signature has been verified."""

    findings: tuple[Finding, ...]
    manifest: Manifest | None = None
    signer: PublicKey | None = None

    @property
    def is_verified(self) -> bool:
        """True only if a trusted key signed the manifest and every single finding is good."""
        signed = self.manifest is not None and self.signer is not None
        return signed and all(finding.status is Status.VERIFIED for finding in self.findings)


class _Refused(Exception):
    """A file of the folder cannot be used; carries the verdict on it."""

    def __init__(self, name: str, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.finding = Finding(name, status, detail)


def verify_folder(folder: Path, trusted: Sequence[PublicKey]) -> FolderReport:
    """Check `folder` against the manifest in it, and the manifest against the `trusted` keys.

    Form is checked before the signature, and the signature before any file is opened. Raises `UnreadableFolder` if
    there is no such folder and `TooLarge` if it is past a bound; every other failure is a finding.
    """
    with _opened_folder(folder) as directory:
        try:
            manifest, signer = _signed_manifest(directory, trusted)
        except _Refused as refused:
            return FolderReport((refused.finding,))
        signed = Finding(MANIFEST_NAME, Status.VERIFIED, f"signed by the key {signer.fingerprint}")
        extras = _extra_files(directory, manifest)
        files = tuple(_check_file(directory, entry) for entry in manifest.files)
        return FolderReport((signed, *files, *extras), manifest, signer)


@contextlib.contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UnreadableFolder(f"{folder}: {error.strerror}") from None
    try:
        yield directory
    finally:
        os.close(directory)


def _signed_manifest(directory: int, trusted: Sequence[PublicKey]) -> tuple[Manifest, PublicKey]:
    bundle = _read_small(directory, BUNDLE_NAME, BUNDLE_BYTES_MAX)
    raw = _read_small(directory, MANIFEST_NAME, MANIFEST_BYTES_MAX)
    with _verdict(BUNDLE_NAME):
        read_bundle(bundle)
    with _verdict(MANIFEST_NAME):
        manifest = Manifest.from_bytes(raw)
        return manifest, verify_blob(raw, bundle, trusted)


@contextlib.contextmanager
def _verdict(name: str) -> Iterator[None]:
    """Turn what the signing rooms raise into a finding about the file `name`."""
    try:
        yield
    except TooLarge:
        raise
    except (SignatureMismatch, UnknownKey) as error:
        raise _Refused(name, Status.UNTRUSTED, str(error)) from None
    except SigningError as error:
        raise _Refused(name, Status.MALFORMED, str(error)) from None


def _read_small(directory: int, name: str, bytes_max: int) -> bytes:
    with _opened_file(directory, name) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise TooLarge(f"{name} has more than {bytes_max} bytes")
    return content


@contextlib.contextmanager
def _opened_file(directory: int, name: str) -> Iterator[int]:
    """A descriptor of the regular file `name`. `O_NONBLOCK`: a named pipe must not make the verifier wait."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        raise _Refused(name, Status.MISSING, "not in the folder") from None
    except OSError as error:
        raise _Refused(name, Status.UNREADABLE, _why_unopened(directory, name, error)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Refused(name, Status.UNREADABLE, "not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _why_unopened(directory: int, name: str, error: OSError) -> str:
    with contextlib.suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return "a symbolic link; only regular files are verified"
    return error.strerror or "cannot be opened"


def _check_file(directory: int, entry: FileEntry) -> Finding:
    try:
        with _opened_file(directory, entry.name) as descriptor:
            return _check_content(descriptor, entry)
    except _Refused as refused:
        return refused.finding
    except OSError as error:
        return Finding(entry.name, Status.UNREADABLE, error.strerror or "cannot be read")


def _check_content(descriptor: int, entry: FileEntry) -> Finding:
    size = os.fstat(descriptor).st_size
    if size != entry.size:
        return Finding(entry.name, Status.CHANGED, f"{size} bytes; {entry.size} were signed")
    digest = _digest_of(descriptor, entry.size)
    if digest != entry.sha256:
        return Finding(entry.name, Status.CHANGED, f"SHA-256 is {digest}; {entry.sha256} was signed")
    return Finding(entry.name, Status.VERIFIED, f"{entry.size} bytes, SHA-256 {digest}")


def _digest_of(descriptor: int, size: int) -> str:
    """Hex SHA-256 of at most `size` bytes and one more, so that a file that grows meanwhile cannot pass or run on."""
    digest = hashlib.sha256()
    left = size + 1
    while left > 0 and (chunk := os.read(descriptor, min(CHUNK_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def _extra_files(directory: int, manifest: Manifest) -> tuple[Finding, ...]:
    expected = {MANIFEST_NAME, BUNDLE_NAME, *(entry.name for entry in manifest.files)}
    extras: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name not in expected:
                extras.append(entry.name)
            if len(extras) > EXTRAS_MAX:
                raise TooLarge(f"the folder holds more than {EXTRAS_MAX} files that the manifest does not list")
    return tuple(Finding(name, Status.EXTRA, "not listed in the manifest") for name in sorted(extras))
