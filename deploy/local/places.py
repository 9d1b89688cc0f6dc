"""Where the stack keeps its state: one folder, short enough for sockets, that the server's account can enter.

The state folder is `.maestro` of the checkout unless `MAESTRO_STATE_DIR` says otherwise. Two things can make that
folder unfit: a path too long for a UNIX socket address (108 bytes, unix(7)), or a parent that the account lent to
PostgreSQL cannot enter (a checkout under /root). The state then lives in `/var/tmp/maestro-<digest of the path>`, and
the state folder is a link to it. No parent folder is changed in either case.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.accounts import Account
from deploy.local.errors import NotOurs
from deploy.local.settings import STATE_SETTING

CHECKOUT = Path(__file__).resolve().parents[2]

SOCKET_PATH_MAX = 107  # sun_path holds 108 bytes with its closing zero
LONGEST_SOCKET = "/postgres/run/.s.PGSQL.65535"
HOME_PATH_MAX = SOCKET_PATH_MAX - len(LONGEST_SOCKET)

DIGEST_LENGTH = 12  # 48 bits tell apart all checkouts of one machine


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one stack, all under `home` (an absolute path without links)."""

    home: Path

    @property
    def secrets(self) -> Path:
        """Passwords and keys, 0700, every file 0600."""
        return self.home / "secrets"

    def secrets_of(self, service: str) -> Path:
        """The passwords of one service's database roles, 0700: the folder that the service is told."""
        return self.secrets / service

    @property
    def logs(self) -> Path:
        """One log file per part."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """What is running: the supervisor's record, chosen ports."""
        return self.home / "run"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own folder, owned by its account: data, sockets, a copy of the programs where needed."""
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's configuration and socket."""
        return self.home / "valkey"

    @property
    def kafka(self) -> Path:
        """Kafka's configuration and log segments."""
        return self.home / "kafka"

    @property
    def objects(self) -> Path:
        """Content-addressed files of the services."""
        return self.home / "objects"

    @property
    def ports(self) -> Path:
        """The chosen ports by name, JSON."""
        return self.run / "ports.json"

    @property
    def operator_key(self) -> Path:
        """The operator's API key."""
        return self.secrets / "operator.key"

    @property
    def actor_key(self) -> Path:
        """What keys the pseudonyms of people who come with tokens."""
        return self.secrets / "actor.key"

    @property
    def operator_digest(self) -> Path:
        """What the identity service knows of the operator's key."""
        return self.secrets / "operator.digest.json"

    def log_of(self, part: str) -> Path:
        """The log file of one part."""
        return self.logs / f"{part}.log"

    def make(self, account: Account | None) -> None:
        """Create the folders. With an account, `home` lets others pass through (0711), never list."""
        _own_folder(self.home, 0o711 if account else 0o700)
        for folder in (self.secrets, self.logs, self.run, self.valkey, self.kafka, self.objects):
            _own_folder(folder, 0o700)


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder that people see: `MAESTRO_STATE_DIR`, else `.maestro` in the checkout."""
    named = environ.get(STATE_SETTING)
    return Path(named).expanduser().absolute() if named else CHECKOUT / ".maestro"


def find_places(state: Path) -> Places | None:
    """The places of a stack that was set up before, or None where there is none yet."""
    return Places(state.resolve()) if state.is_dir() else None


def lay_places(state: Path, account: Account | None) -> Places:
    """Choose and create the folders of the stack whose state folder is `state`; safe to repeat.

    Raises:
        NotOurs: the state folder, or the short folder behind it, belongs to somebody else or cannot serve.
    """
    if state.exists() and not state.is_dir():
        raise NotOurs(f"{state} is not a folder", fix=f"remove it, or set {STATE_SETTING} to another folder")
    if state.is_dir():
        places = Places(state.resolve())
        _check_usable(state, places.home, account)
    else:
        places = Places(_choose_home(state, account))
        if places.home != state.resolve():
            _link(state, places.home)
    places.make(account)
    return places


def _choose_home(state: Path, account: Account | None) -> Path:
    wanted = state.parent.resolve() / state.name
    return wanted if fits(wanted, account) else short_home(wanted)


def fits(home: Path, account: Account | None) -> bool:
    """Whether sockets under `home` have short enough paths and the account can enter it (or what exists of it)."""
    if len(os.fsencode(home)) > HOME_PATH_MAX:
        return False
    return account is None or account.can_enter(_nearest_existing(home))


def short_home(wanted: Path) -> Path:
    """The short folder that stands in for `wanted`; the same for the same path and user."""
    digest = hashlib.sha256(f"{os.geteuid()}:{wanted}".encode()).hexdigest()[:DIGEST_LENGTH]
    lasting = Path("/var/tmp")  # noqa: S108 - outlives a reboot; the folder is checked to be ours before use
    return (lasting if lasting.is_dir() else Path(tempfile.gettempdir())).resolve() / f"maestro-{digest}"


def _link(state: Path, home: Path) -> None:
    _own_folder(home, 0o700)
    state.parent.mkdir(parents=True, exist_ok=True)
    if state.is_symlink():  # it points to a folder that is gone
        state.unlink()
    state.symlink_to(home, target_is_directory=True)


def _own_folder(folder: Path, mode: int) -> None:
    """Create `folder` or check that it is a real folder of ours, and give it the mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=mode)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise NotOurs(
                f"{folder} is not a folder of the user who runs this",
                fix=f"remove {folder}, or set {STATE_SETTING} to another folder",
            ) from None
    folder.chmod(mode)


def _check_usable(state: Path, home: Path, account: Account | None) -> None:
    if home.stat().st_uid != os.geteuid():
        raise NotOurs(
            f"the state folder {state} belongs to another user",
            fix=f"run as its owner, or set {STATE_SETTING} to another folder",
        )
    if not fits(home, account):
        raise NotOurs(
            f"the state folder {state} cannot serve: its path is too long for sockets, or the account "
            "that PostgreSQL runs under cannot enter it",
            fix=f"mv {state} {state}.old  (a short folder is then chosen by itself)",
        )


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
