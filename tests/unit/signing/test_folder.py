"""A signed folder, and each way of tampering with it that we know of."""

import os
import socket
from pathlib import Path

import pytest

from libs.signing import folder as checked_folder
from libs.signing.bundle import sign_blob
from libs.signing.canonical import canonical_bytes
from libs.signing.digests import sha256_hex
from libs.signing.errors import TooLarge, UnreadableFolder
from libs.signing.folder import EXTRAS_MAX, Finding, FolderReport, Status, verify_folder
from libs.signing.keys import SigningKey
from libs.signing.manifest import BUNDLE_NAME, MANIFEST_NAME, Manifest
from libs.signing.reader import read_json


def verdicts(report: FolderReport) -> dict[str, Status]:
    return {finding.name: finding.status for finding in report.findings}


def failures(report: FolderReport) -> list[tuple[str, Status]]:
    return [(finding.name, finding.status) for finding in report.findings if finding.status is not Status.VERIFIED]


def flip_a_bit(path: Path, *, at: int = 5) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_an_untouched_folder_is_verified_file_by_file(signed_folder: Path, key: SigningKey, manifest: Manifest) -> None:
    report = verify_folder(signed_folder, [key.public])

    assert report.is_verified
    assert (report.manifest, report.signer) == (manifest, key.public)
    assert verdicts(report) == {
        MANIFEST_NAME: Status.VERIFIED,
        "invoice.csv": Status.VERIFIED,
        "invoice.json": Status.VERIFIED,
    }


def test_one_flipped_bit_fails_and_names_the_file(signed_folder: Path, key: SigningKey) -> None:
    flip_a_bit(signed_folder / "invoice.csv")

    report = verify_folder(signed_folder, [key.public])

    assert not report.is_verified
    assert failures(report) == [("invoice.csv", Status.CHANGED)]


def test_a_longer_file_fails_and_names_the_file(signed_folder: Path, key: SigningKey) -> None:
    with (signed_folder / "invoice.json").open("ab") as file:
        file.write(b"\n")

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("invoice.json", Status.CHANGED)]
    assert Finding("invoice.json", Status.CHANGED, "18 bytes; 17 were signed") in report.findings


def test_a_file_that_grows_while_it_is_read_does_not_pass_for_what_it_was(signed_folder: Path) -> None:
    content = (signed_folder / "invoice.json").read_bytes()
    with (signed_folder / "invoice.json").open("ab") as file:
        file.write(b"more")

    with (signed_folder / "invoice.json").open("rb") as file:
        digest = checked_folder._digest_of(file.fileno(), len(content))

    assert digest != sha256_hex(content)


def test_every_failing_file_is_named_not_only_the_first(signed_folder: Path, key: SigningKey) -> None:
    flip_a_bit(signed_folder / "invoice.csv")
    (signed_folder / "invoice.json").unlink()
    (signed_folder / "added.txt").touch()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [
        ("invoice.csv", Status.CHANGED),
        ("invoice.json", Status.MISSING),
        ("added.txt", Status.EXTRA),
    ]


def test_a_changed_manifest_fails_and_names_the_manifest(signed_folder: Path, key: SigningKey) -> None:
    path = signed_folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b"2026-10", b"2026-09"))

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [(MANIFEST_NAME, Status.UNTRUSTED)]
    assert report.manifest is None


@pytest.mark.parametrize("name", ["invoice.csv", "invoice.json", MANIFEST_NAME, BUNDLE_NAME])
def test_a_missing_file_fails_and_is_named(signed_folder: Path, key: SigningKey, name: str) -> None:
    (signed_folder / name).unlink()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [(name, Status.MISSING)]


def test_a_listed_file_that_is_a_folder_is_unreadable(signed_folder: Path, key: SigningKey) -> None:
    (signed_folder / "invoice.csv").unlink()
    (signed_folder / "invoice.csv").mkdir()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("invoice.csv", Status.UNREADABLE)]


def test_a_listed_file_that_is_a_named_pipe_is_unreadable_and_never_waited_for(
    signed_folder: Path, key: SigningKey
) -> None:
    (signed_folder / "invoice.csv").unlink()
    os.mkfifo(signed_folder / "invoice.csv")

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("invoice.csv", Status.UNREADABLE)]


def test_a_listed_file_that_is_a_socket_is_unreadable(signed_folder: Path, key: SigningKey) -> None:
    (signed_folder / "invoice.csv").unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(signed_folder / "invoice.csv"))
    listener.close()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("invoice.csv", Status.UNREADABLE)]


@pytest.mark.parametrize("name", ["invoice.csv", MANIFEST_NAME, BUNDLE_NAME])
def test_a_symbolic_link_is_refused_even_to_the_right_content(
    signed_folder: Path, tmp_path: Path, key: SigningKey, name: str
) -> None:
    (signed_folder / name).rename(tmp_path / "outside")
    (signed_folder / name).symlink_to(tmp_path / "outside")

    report = verify_folder(signed_folder, [key.public])

    assert Finding(name, Status.UNREADABLE, "a symbolic link; only regular files are verified") in report.findings
    assert not report.is_verified


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "INVOICE.CSV", "invoice.csv "])
def test_an_extra_file_fails_and_is_named(signed_folder: Path, key: SigningKey, name: str) -> None:
    (signed_folder / name).touch()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [(name, Status.EXTRA)]


def test_an_extra_folder_or_link_fails_and_is_named(signed_folder: Path, key: SigningKey) -> None:
    (signed_folder / "folder").mkdir()
    (signed_folder / "link").symlink_to("invoice.csv")

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("folder", Status.EXTRA), ("link", Status.EXTRA)]


def test_an_extra_file_whose_name_is_not_unicode_fails(signed_folder: Path, key: SigningKey) -> None:
    (signed_folder / os.fsdecode(b"\xff\xfe")).touch()

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("\udcff\udcfe", Status.EXTRA)]


def test_an_empty_manifest_is_malformed_even_if_it_is_signed(signed_folder: Path, key: SigningKey) -> None:
    document = read_json((signed_folder / MANIFEST_NAME).read_bytes(), bytes_max=10_000)
    assert isinstance(document, dict)
    empty = canonical_bytes({**document, "files": []})
    (signed_folder / MANIFEST_NAME).write_bytes(empty)
    (signed_folder / BUNDLE_NAME).write_bytes(sign_blob(empty, key))

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [(MANIFEST_NAME, Status.MALFORMED)]


def test_form_is_judged_before_the_signature(signed_folder: Path, other_key: SigningKey) -> None:
    (signed_folder / MANIFEST_NAME).write_bytes(b"{}")

    report = verify_folder(signed_folder, [other_key.public])

    assert failures(report) == [(MANIFEST_NAME, Status.MALFORMED)]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json"])
def test_a_stripped_bundle_is_malformed_and_named(signed_folder: Path, key: SigningKey, content: bytes) -> None:
    (signed_folder / BUNDLE_NAME).write_bytes(content)

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [(BUNDLE_NAME, Status.MALFORMED)]


def test_a_folder_signed_by_a_stranger_is_untrusted(signed_folder: Path, other_key: SigningKey) -> None:
    report = verify_folder(signed_folder, [other_key.public])

    assert failures(report) == [(MANIFEST_NAME, Status.UNTRUSTED)]


def test_no_file_is_opened_before_the_signature_is_verified(signed_folder: Path, other_key: SigningKey) -> None:
    (signed_folder / "invoice.csv").unlink()

    report = verify_folder(signed_folder, [other_key.public])

    assert [finding.name for finding in report.findings] == [MANIFEST_NAME]


def test_the_manifest_that_is_returned_is_the_one_that_was_verified(signed_folder: Path, key: SigningKey) -> None:
    report = verify_folder(signed_folder, [key.public])
    (signed_folder / MANIFEST_NAME).write_bytes(b"swapped after the check")

    assert report.manifest is not None
    assert report.manifest.subject.number == "MST-000001"


def test_the_folder_itself_may_be_reached_by_a_link(signed_folder: Path, tmp_path: Path, key: SigningKey) -> None:
    link = tmp_path / "link"
    link.symlink_to(signed_folder)

    report = verify_folder(link, [key.public])

    assert report.is_verified


@pytest.mark.parametrize(("name", "size"), [(BUNDLE_NAME, 70_000), (MANIFEST_NAME, 3_000_000)])
def test_a_manifest_or_bundle_past_its_bound_is_not_read(
    signed_folder: Path, key: SigningKey, name: str, size: int
) -> None:
    os.truncate(signed_folder / name, size)

    with pytest.raises(TooLarge, match=name):
        verify_folder(signed_folder, [key.public])


def test_a_manifest_that_nests_too_deep_is_not_parsed(signed_folder: Path, key: SigningKey) -> None:
    (signed_folder / MANIFEST_NAME).write_bytes(b"[" * 100_000)

    with pytest.raises(TooLarge, match="deeper"):
        verify_folder(signed_folder, [key.public])


def test_a_huge_file_in_the_place_of_a_small_one_is_told_by_its_size_alone(
    signed_folder: Path, key: SigningKey
) -> None:
    os.truncate(signed_folder / "invoice.csv", 2**40)  # a terabyte of holes: hashing it would take hours

    report = verify_folder(signed_folder, [key.public])

    assert failures(report) == [("invoice.csv", Status.CHANGED)]


def test_a_folder_flooded_with_extra_files_is_not_listed_to_the_end(signed_folder: Path, key: SigningKey) -> None:
    fill(signed_folder, EXTRAS_MAX + 1)

    with pytest.raises(TooLarge, match="does not list"):
        verify_folder(signed_folder, [key.public])


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        os.close(os.open(folder / f"{number}", os.O_CREAT | os.O_WRONLY))


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_no_folder_cannot_be_verified(tmp_path: Path, key: SigningKey, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UnreadableFolder):
        verify_folder(tmp_path / name, [key.public])


def test_a_report_without_any_finding_is_not_verified() -> None:
    assert not FolderReport(()).is_verified


def test_a_report_with_good_findings_but_no_signer_is_not_verified() -> None:
    assert not FolderReport((Finding("a", Status.VERIFIED, ""),)).is_verified
