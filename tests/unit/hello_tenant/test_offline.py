from __future__ import annotations

from pathlib import Path

from samples.hello_tenant.offline import Verdict, copy_of, flip_one_byte


def test_flipping_changes_exactly_one_bit_of_one_byte(tmp_path: Path) -> None:
    file = tmp_path / "invoice.json"
    file.write_bytes(b"abcde")
    position = flip_one_byte(file)
    assert position == 2
    assert file.read_bytes() == b"abbde"


def test_a_copy_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "invoice").mkdir()
    (tmp_path / "invoice" / "invoice.csv").write_text("new")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "left over").write_text("old")
    copy = copy_of(tmp_path / "invoice", tmp_path / "copy")
    assert [path.name for path in copy.iterdir()] == ["invoice.csv"]


def test_only_the_exit_status_decides_whether_files_are_verified() -> None:
    assert Verdict(0, "").is_verified
    assert not Verdict(2, "VERIFIED").is_verified
