"""The manifest of a signed folder: what it is about, and the name, size and SHA-256 of every file in it.

    {"files": [{"name": "invoice.csv", "sha256": "…64 hex…", "size": 812}, …],
     "schema": "https://maestro.example/schemas/manifest/v1",
     "subject": {"kind": "invoice", "number": "…", "period": "2025-10", "tenant_id": "tnt_…"}}

It is canonical JSON, and a manifest in any other form is refused: what was signed can be read in one way only.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from libs.signing.canonical import canonical_bytes
from libs.signing.digests import normal_hex, sha256_hex
from libs.signing.errors import MalformedManifest, TooLarge
from libs.signing.reader import JsonValue, read_object

SCHEMA_ID = "https://maestro.example/schemas/manifest/v1"
MANIFEST_NAME = "manifest.json"
BUNDLE_NAME = "manifest.json.sigstore.json"

# An entry has about 110 bytes, so this is room for every file that FILES_MAX allows.
MANIFEST_BYTES_MAX = 2 * 1024 * 1024
FILES_MAX = 10_000
# One file may hold a month of one tenant's events; all files of a folder together are hashed in under a minute.
FILE_BYTES_MAX = 8 * 1024**3
FOLDER_BYTES_MAX = 64 * 1024**3
SUBJECT_CHARS_MAX = 200

# Plain names: they mean the same on every file system, and none can leave the folder. Neither a leading dot (hidden)
# nor a trailing one (Windows drops it) is among them.
_SAFE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,127}")


@dataclass(frozen=True, slots=True)
class Subject:
    """What the files are about: a kind of document, whose it is, its number and its period ("YYYY-MM")."""

    kind: str
    tenant_id: str
    number: str
    period: str

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_subject_text(field.name, getattr(self, field.name))


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: a plain name, its size in bytes, the SHA-256 of its content in lower-case hex."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _SAFE_NAME.fullmatch(self.name):
            raise MalformedManifest(f"{self.name[:200]!r} is no plain name: letters, digits, '_', '-', single dots")
        if self.name.casefold() in (MANIFEST_NAME, BUNDLE_NAME):
            raise MalformedManifest(f"{self.name} cannot be listed in the manifest: it is written after it")
        if not 0 <= self.size <= FILE_BYTES_MAX:
            raise TooLarge(f"{self.name}: {self.size} bytes is outside of 0 to {FILE_BYTES_MAX}")
        if normal_hex(self.sha256) != self.sha256:
            raise MalformedManifest(f"{self.name}: not the SHA-256 of a file in lower-case hex: {self.sha256[:80]!r}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """At least one file, sorted by name, no two names equal (nor equal but for their case)."""

    subject: Subject
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.files]
        if not names:
            raise MalformedManifest("lists no file, so a signature over it would prove nothing")
        if len(names) > FILES_MAX:
            raise TooLarge(f"lists {len(names)} files; at most {FILES_MAX} are checked")
        if names != sorted(names):
            raise MalformedManifest("the files must be sorted by name")
        if len({name.casefold() for name in names}) < len(names):
            raise MalformedManifest("two files have the same name (or differ only by case)")
        if sum(entry.size for entry in self.files) > FOLDER_BYTES_MAX:
            raise TooLarge(f"the files have more than {FOLDER_BYTES_MAX} bytes together")

    @classmethod
    def of(cls, subject: Subject, contents: Mapping[str, bytes]) -> Self:
        """The manifest of files held in memory, by name. Raises `MalformedManifest` or `TooLarge`."""
        return cls(
            subject,
            tuple(FileEntry(name, len(contents[name]), sha256_hex(contents[name])) for name in sorted(contents)),
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a manifest strictly. Raises `MalformedJson`, `MalformedManifest` or `TooLarge`."""
        document = read_object(raw, bytes_max=MANIFEST_BYTES_MAX)
        _check_members(document, "the manifest", {"schema", "subject", "files"})
        if document["schema"] != SCHEMA_ID:
            raise MalformedManifest(f"schema must be {SCHEMA_ID}, not {document['schema']!r}")
        if canonical_bytes(document) != raw:
            raise MalformedManifest("not in canonical form (RFC 8785), so it is not what Maestro signed")
        return cls(_subject_of(document["subject"]), _files_of(document["files"]))

    def to_bytes(self) -> bytes:
        """Canonical JSON: what is signed, and whose SHA-256 is the manifest's digest."""
        return canonical_bytes(
            {"schema": SCHEMA_ID, "subject": asdict(self.subject), "files": [asdict(entry) for entry in self.files]}
        )


def _subject_of(value: JsonValue) -> Subject:
    members = _object(value, "subject")
    _check_members(members, "subject", {field.name for field in fields(Subject)})
    return Subject(**{name: _text(text, name) for name, text in members.items()})


def _files_of(value: JsonValue) -> tuple[FileEntry, ...]:
    if not isinstance(value, list):
        raise MalformedManifest("files must be an array")
    if len(value) > FILES_MAX:
        raise TooLarge(f"lists {len(value)} files; at most {FILES_MAX} are checked")
    return tuple(_file_of(item) for item in value)


def _file_of(value: JsonValue) -> FileEntry:
    members = _object(value, "a file")
    _check_members(members, "a file", {"name", "size", "sha256"})
    size = members["size"]
    if not isinstance(size, int) or isinstance(size, bool):
        raise MalformedManifest("a file's size must be an integer")
    digest = _text(members["sha256"], "sha256")
    return FileEntry(_text(members["name"], "name"), size, normal_hex(digest) or digest)


def _object(value: JsonValue, where: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise MalformedManifest(f"{where} must be an object")
    return value


def _text(value: JsonValue, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedManifest(f"{where} must be a string")
    return value


def _check_members(members: Mapping[str, JsonValue], where: str, expected: set[str]) -> None:
    if members.keys() != expected:
        found = ", ".join(sorted(members)) or "nothing"
        raise MalformedManifest(f"{where} must have exactly {', '.join(sorted(expected))}; it has {found}")


def _check_subject_text(name: str, text: str) -> None:
    if not 0 < len(text) <= SUBJECT_CHARS_MAX or not text.isprintable():
        raise MalformedManifest(f"subject.{name} must have 1 to {SUBJECT_CHARS_MAX} printable characters")
