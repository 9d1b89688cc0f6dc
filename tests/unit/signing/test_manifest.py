"""Manifests: canonical, never empty, plain names only."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.names import URI_BASE
from libs.signing.canonical import canonical_bytes
from libs.signing.digests import sha256_hex
from libs.signing.errors import MalformedJson, MalformedManifest, SigningError, TooLarge
from libs.signing.manifest import FILE_BYTES_MAX, FILES_MAX, SCHEMA_ID, FileEntry, Manifest, Subject
from tests.support.signed_folders import SUBJECT

DIGEST = "0" * 64
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}(\.[a-z]{1,4})?", fullmatch=True)


@pytest.fixture
def document(manifest: Manifest) -> dict[str, Any]:
    """A good manifest, to be spoilt."""
    loaded: dict[str, Any] = json.loads(manifest.to_bytes())
    return loaded


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=6))
def test_what_was_written_is_read_back(contents: dict[str, bytes]) -> None:
    unique = {name.casefold(): content for name, content in contents.items()}
    manifest = Manifest.of(SUBJECT, unique)

    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_manifest_lists_each_file_by_name_with_size_and_digest(document: dict[str, Any]) -> None:
    content = b'{"total":"12.50"}'

    assert document["schema"] == SCHEMA_ID
    assert document["subject"]["number"] == "MST-000001"
    assert [entry["name"] for entry in document["files"]] == ["invoice.csv", "invoice.json"]
    assert document["files"][1] == {"name": "invoice.json", "size": len(content), "sha256": sha256_hex(content)}


def test_the_schema_id_starts_with_the_one_uri_that_is_ours() -> None:
    assert SCHEMA_ID.startswith(URI_BASE)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../invoice.json",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:invoice.json",
        ".hidden",
        "ends.",
        "two..dots",
        "nul\x00",
        "line\n",
        "café",
        "x" * 129,
        "manifest.json",
        "Manifest.json",
        "manifest.json.sigstore.json",
    ],
)
def test_a_name_that_could_leave_the_folder_or_mean_two_files_is_refused(name: str) -> None:
    with pytest.raises(MalformedManifest):
        FileEntry(name, 1, DIGEST)


def test_a_manifest_without_files_is_malformed(document: dict[str, Any]) -> None:
    document["files"] = []

    with pytest.raises(MalformedManifest, match="prove nothing"):
        Manifest.from_bytes(canonical_bytes(document))


@pytest.mark.parametrize("missing", ["schema", "subject", "files"])
def test_a_manifest_that_lacks_a_part_is_malformed(document: dict[str, Any], missing: str) -> None:
    del document[missing]

    with pytest.raises(MalformedManifest, match="must have exactly"):
        Manifest.from_bytes(canonical_bytes(document))


@pytest.mark.parametrize("name", ["Subject", "extra"])
def test_an_unknown_top_level_field_is_malformed(document: dict[str, Any], name: str) -> None:
    document[name] = document["subject"]

    with pytest.raises(MalformedManifest, match="must have exactly"):
        Manifest.from_bytes(canonical_bytes(document))


def test_a_key_that_stands_twice_is_malformed(manifest: Manifest) -> None:
    doubled = manifest.to_bytes().replace(b'"period":', b'"period":"2026-09","period":')

    with pytest.raises(MalformedJson, match="stands twice"):
        Manifest.from_bytes(doubled)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"files":', b'"files": '), (b'"invoice"', b'"\\u0069nvoice"'), (b"}]", b"}]\n")],
    ids=["space", "escape", "line end"],
)
def test_another_spelling_of_the_same_manifest_is_malformed(manifest: Manifest, before: bytes, after: bytes) -> None:
    with pytest.raises(MalformedManifest, match="canonical"):
        Manifest.from_bytes(manifest.to_bytes().replace(before, after, 1))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("sha256", "sha1:" + "0" * 35),
        ("sha256", "0" * 40),
        ("sha256", None),
        ("size", "12"),
        ("size", True),
        ("name", None),
        ("name", "../x"),
    ],
)
def test_a_file_entry_of_another_shape_is_malformed(document: dict[str, Any], member: str, value: object) -> None:
    document["files"][0][member] = value

    with pytest.raises(MalformedManifest):
        Manifest.from_bytes(canonical_bytes(document))


def test_an_upper_case_digest_means_the_same_file(document: dict[str, Any], manifest: Manifest) -> None:
    document["files"][0]["sha256"] = document["files"][0]["sha256"].upper()

    assert Manifest.from_bytes(canonical_bytes(document)).files == manifest.files


@pytest.mark.parametrize("part", ["subject", "files"])
def test_a_part_of_another_kind_is_malformed(document: dict[str, Any], part: str) -> None:
    document[part] = "text"

    with pytest.raises(MalformedManifest):
        Manifest.from_bytes(canonical_bytes(document))


def test_a_manifest_of_another_schema_is_malformed(document: dict[str, Any]) -> None:
    document["schema"] = SCHEMA_ID.replace("v1", "v2")

    with pytest.raises(MalformedManifest, match="schema must be"):
        Manifest.from_bytes(canonical_bytes(document))


@pytest.mark.parametrize("text", ["", "x" * 201, "escape \x1b[2J", "two\nlines"])
def test_a_subject_that_could_mislead_a_terminal_is_malformed(text: str) -> None:
    with pytest.raises(MalformedManifest, match="printable"):
        Subject(kind="invoice", tenant_id="tnt_a", number=text, period="2026-10")


def test_files_out_of_order_are_malformed() -> None:
    with pytest.raises(MalformedManifest, match="sorted"):
        Manifest(SUBJECT, (FileEntry("b", 1, DIGEST), FileEntry("a", 1, DIGEST)))


@pytest.mark.parametrize("names", [("a", "a"), ("A", "a")])
def test_two_files_whose_names_collide_are_malformed(names: tuple[str, str]) -> None:
    with pytest.raises(MalformedManifest, match="same name"):
        Manifest(SUBJECT, tuple(FileEntry(name, 1, DIGEST) for name in names))


def test_more_files_than_the_bound_are_refused_before_they_are_read(document: dict[str, Any]) -> None:
    document["files"] = [1] * (FILES_MAX + 1)

    with pytest.raises(TooLarge, match="at most"):
        Manifest.from_bytes(canonical_bytes(document))


@pytest.mark.parametrize("size", [-1, FILE_BYTES_MAX + 1])
def test_a_size_outside_of_the_bounds_is_refused(size: int) -> None:
    with pytest.raises(TooLarge):
        FileEntry("a", size, DIGEST)


def test_files_that_are_too_large_together_are_refused() -> None:
    entries = tuple(FileEntry(f"f{number}", FILE_BYTES_MAX, DIGEST) for number in range(9))

    with pytest.raises(TooLarge, match="together"):
        Manifest(SUBJECT, entries)


@given(st.binary(max_size=100))
def test_any_bytes_are_either_a_manifest_or_refused_with_a_reason(raw: bytes) -> None:
    with pytest.raises(SigningError):
        Manifest.from_bytes(raw)
