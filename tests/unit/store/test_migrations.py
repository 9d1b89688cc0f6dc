from __future__ import annotations

from pathlib import Path

import pytest

from libs.bus.offsets import BUS_MIGRATIONS
from libs.runtime.errors import Broken
from libs.store.migrate import STORE_MIGRATIONS, Migration, owner_of, pending, read_folder


def migration(number: int, sql: str = "SELECT 1") -> Migration:
    return Migration("services/x", f"{number:04}_do_it.sql", sql, f"digest of {sql}")


def applied(*migrations: Migration) -> list[tuple[str, str]]:
    return [(one.name, one.sha256) for one in migrations]


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    [(folder / name).write_text("SELECT 1") for name in names]
    return folder


def test_a_fresh_database_needs_all_of_them_in_order() -> None:
    assert pending([migration(1), migration(2)], []) == [migration(1), migration(2)]


def test_what_was_applied_is_not_applied_again() -> None:
    assert pending([migration(1), migration(2)], applied(migration(1))) == [migration(2)]


def test_a_changed_file_is_named() -> None:
    with pytest.raises(Broken, match=r"services/x/migrations/0001_do_it\.sql was changed"):
        pending([migration(1, "SELECT 2")], applied(migration(1)))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(Broken, match=r"0002_do_it\.sql was applied .* missing"):
        pending([migration(1), migration(3)], applied(migration(1), migration(2)))


def test_what_a_newer_version_applied_is_left_alone() -> None:
    assert pending([migration(1)], applied(migration(1), migration(2))) == []


def test_a_new_file_below_an_applied_one_is_named() -> None:
    with pytest.raises(Broken, match=r"0001_do_it\.sql is numbered below 0002"):
        pending([migration(1), migration(2)], applied(migration(2)))


def test_a_folder_is_known_by_who_owns_it() -> None:
    assert owner_of(BUS_MIGRATIONS) == "libs/bus"
    assert owner_of(STORE_MIGRATIONS) == "libs/store"


def test_a_number_taken_twice_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "migrations", "0001_create_a.sql", "0001_create_b.sql")

    with pytest.raises(Broken, match="0001 is taken by"):
        read_folder(folder)


def test_a_name_without_a_number_is_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "migrations", "create_a.sql")

    with pytest.raises(Broken, match="NNNN_"):
        read_folder(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="no folder of migrations"):
        read_folder(tmp_path / "nowhere")
