"""The state folder is short enough for sockets, can be entered by PostgreSQL's account, and is ours."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.accounts import Account, unprivileged_account
from deploy.local.errors import Missing, NotOurs
from deploy.local.places import HOME_PATH_MAX, LONGEST_SOCKET, find_places, lay_places, short_home, state_folder

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends an account and gives files away")
LONG_NAME = "a-folder-whose-name-alone-is-too-long-for-the-path-of-any-socket-that-lies-below-it"


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """The short folder of a state folder with a long path; removed afterwards."""
    state = tmp_path / LONG_NAME
    home = short_home(state)
    yield state
    for folder in (*home.glob("*"), home):
        folder.rmdir()


def test_the_state_folder_lies_in_the_checkout_unless_a_setting_moves_it(tmp_path: Path) -> None:
    assert state_folder({}).name == ".maestro"
    assert state_folder({"MAESTRO_STATE_DIR": str(tmp_path / "elsewhere")}) == tmp_path / "elsewhere"


def test_every_socket_path_fits_its_address() -> None:
    assert HOME_PATH_MAX + len(LONGEST_SOCKET) <= 107


def test_a_long_path_becomes_a_link_to_a_short_folder(short: Path) -> None:
    places = lay_places(short, None)

    assert short.is_symlink()
    assert short.resolve() == places.home
    assert len(str(places.home)) <= HOME_PATH_MAX


def test_the_short_folder_is_found_again(short: Path) -> None:
    first = lay_places(short, None)

    assert lay_places(short, None) == first == find_places(short)


def test_two_long_paths_have_two_short_folders(tmp_path: Path) -> None:
    assert short_home(tmp_path / "one") != short_home(tmp_path / "two")


def test_secrets_are_closed_to_others(tmp_path: Path) -> None:
    places = lay_places(tmp_path / "s", None)

    assert stat.S_IMODE(places.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(places.home.stat().st_mode) == 0o700


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("in the way")

    with pytest.raises(NotOurs, match="is not a folder"):
        lay_places(tmp_path / "s", None)


@ROOT_ONLY
def test_another_users_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.chown(tmp_path / "s", 65534, 65534)

    with pytest.raises(NotOurs, match="belongs to another user"):
        lay_places(tmp_path / "s", None)


@ROOT_ONLY
def test_a_link_that_somebody_laid_where_the_short_folder_goes_is_refused(tmp_path: Path) -> None:
    state = tmp_path / LONG_NAME
    short_home(state).symlink_to(tmp_path)

    with pytest.raises(NotOurs, match="is not a folder of the user"):
        lay_places(state, None)

    short_home(state).unlink()


@ROOT_ONLY
def test_a_checkout_that_the_account_cannot_enter_gets_a_short_folder_and_stays_as_it_is(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account = unprivileged_account({})
    assert account is not None

    places = lay_places(closed / "s", account)

    assert account.can_enter(places.home)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert (closed / "s").resolve() == places.home
    for folder in (*places.home.glob("*"), places.home):
        folder.rmdir()


@ROOT_ONLY
def test_an_account_that_does_not_exist_is_named_with_its_setting() -> None:
    with pytest.raises(Missing) as raised:
        unprivileged_account({"MAESTRO_UNPRIVILEGED_ACCOUNT": "nobody-by-this-name"})

    assert "nobody-by-this-name" in raised.value.message
    assert "MAESTRO_UNPRIVILEGED_ACCOUNT" in raised.value.fix


@ROOT_ONLY
def test_root_is_no_unprivileged_account() -> None:
    with pytest.raises(Missing, match="root itself"):
        unprivileged_account({"MAESTRO_UNPRIVILEGED_ACCOUNT": "root"})


@ROOT_ONLY
def test_an_account_can_enter_only_what_is_open_to_it(tmp_path: Path) -> None:
    nobody = Account("nobody", 65534, 65534)
    tmp_path.chmod(0o700)

    assert nobody.can_enter(Path("/"))
    assert not nobody.can_enter(tmp_path)
