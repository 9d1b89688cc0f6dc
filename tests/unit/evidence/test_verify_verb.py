"""The verb `maestro verify`: exit status, table and JSON."""

import json
import os
from pathlib import Path

import pytest

from libs.signing.keys import SigningKey
from libs.signing.manifest import MANIFEST_NAME
from services.evidence.cli import main, verify
from tests.support.signed_folders import CONTENTS, SignedFolder, make_signed_folder


@pytest.fixture(scope="module")
def signing_key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def signed(tmp_path: Path, signing_key: SigningKey) -> SignedFolder:
    return make_signed_folder(tmp_path, signing_key)


@pytest.fixture
def folder(signed: SignedFolder) -> Path:
    return signed.folder


@pytest.fixture
def key_file(signed: SignedFolder) -> Path:
    return signed.key_file


def test_a_good_folder_exits_0_and_shows_what_was_checked(
    folder: Path, key_file: Path, signing_key: SigningKey, capsys: pytest.CaptureFixture[str]
) -> None:
    status = verify(folder, key_file, as_json=False)

    shown = capsys.readouterr().out
    assert status == 0
    assert f"key      SHA-256 {signing_key.public.fingerprint}" in shown
    assert "subject  invoice MST-000001 of tnt_aaaaaaaaaaaaaaaaaaaa, period 2026-10" in shown
    assert shown.endswith("VERIFIED: 3 files, nothing missing, extra or changed\n")


def test_a_flipped_byte_exits_1_and_names_the_file(
    folder: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "invoice.csv").write_bytes(CONTENTS["invoice.csv"].replace(b"1000", b"1001"))

    status = verify(folder, key_file, as_json=False)

    shown = capsys.readouterr().out
    assert status == 1
    assert "invoice.csv    CHANGED" in shown
    assert shown.endswith("FAILED: invoice.csv (changed)\n")


def test_json_says_the_same_for_programs(folder: Path, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "invoice.json").unlink()

    status = verify(folder, key_file, as_json=True)

    told = json.loads(capsys.readouterr().out)
    assert status == 1
    assert told["verified"] is False
    assert told["subject"]["number"] == "MST-000001"
    assert {entry["name"]: entry["verdict"] for entry in told["files"]} == {
        "manifest.json": "verified",
        "invoice.csv": "verified",
        "invoice.json": "missing",
    }


def test_a_folder_that_is_not_there_exits_2(tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = verify(tmp_path / "absent", key_file, as_json=False)

    assert status == 2
    assert "absent: No such file or directory" in capsys.readouterr().err


def test_a_key_that_is_not_there_exits_2_and_says_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = verify(folder, tmp_path / "absent.pem", as_json=False)

    assert status == 2
    assert "absent.pem: No such file or directory; name the signer's public key with --key" in capsys.readouterr().err


def test_a_file_that_is_no_key_exits_2_also_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = verify(folder, folder / "invoice.json", as_json=True)

    assert status == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "malformed_key"


def test_a_folder_past_a_bound_exits_3(folder: Path, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(folder / MANIFEST_NAME, 10**8)

    status = verify(folder, key_file, as_json=False)

    assert status == 3
    assert "manifest.json has more than" in capsys.readouterr().err


def test_a_name_from_a_stranger_cannot_steer_the_terminal(
    folder: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / os.fsdecode(b"\x1b[2J\xff\nVERIFIED")).touch()

    verify(folder, key_file, as_json=False)

    assert "\\x1b[2J\\udcff\\nVERIFIED (extra)" in capsys.readouterr().out


def test_the_verb_is_run_by_its_name(folder: Path, key_file: Path) -> None:
    assert main(["verify", str(folder), "--key", str(key_file)]) == 0


@pytest.mark.parametrize("arguments", [[], ["verify"], ["verify", "a", "b"], ["verify", "a", "--nonsense"], ["sign"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)

    assert raised.value.code == 2
