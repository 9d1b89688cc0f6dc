"""What chaos does to a running stack with its own hands: signals, limits, full disks, clocks, verbs, databases."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import asyncpg

from deploy.local.control import bring_up
from deploy.local.parts import Part
from deploy.local.places import CHECKOUT
from deploy.local.plan import plan_parts
from deploy.local.postgres import Postgres
from deploy.local.service_part import OTLP_GRPC_SETTING, ServicePart
from deploy.local.status import live_status
from tests.chaos.program import PROGRAM, plan_chaos
from tests.chaos.service import clock_file
from tests.support.whole_stack import WholeStack

# Who owns a database and who may connect to it belongs to the cluster: a copy does not have it.
OWNER_AND_GRANTS: Final = """
UPDATE pg_database SET (datdba, datacl) = (SELECT datdba, datacl FROM pg_database WHERE datname = '{lost}')
WHERE datname = '{restored}'
"""
VERB_WITHIN_S: Final = 60.0
TRIES: Final = 50
PAGES: Final = 1024 * 1024


@dataclass
class Hand:
    """A stack, the randomness of one seed, and what is to be undone when the seed is over.

    `register` makes a tenant; what it returns waits until metering knows that one. `ask_invoices` asks for the close.
    """

    stack: WholeStack
    random: Random
    chaos: Path | None = None
    disk: Path | None = None
    said: list[str] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)
    register: Callable[[], Callable[[], object]] = lambda: lambda: None
    ask_invoices: Callable[[], None] = lambda: None

    def say(self, text: str) -> None:
        """Note something for the line of this seed."""
        self.said.append(text)

    def wait(self, least_s: float, most_s: float) -> None:
        """Let the load go on for a while."""
        time.sleep(self.random.uniform(least_s, most_s))

    def kill(self, name: str) -> None:
        """SIGKILL, and no look back: the supervisor brings it back while other things happen."""
        self._process(name, signal.SIGKILL)

    def _process(self, name: str, what: signal.Signals) -> None:
        process = self.stack.part(name).process
        if process is not None:
            process.send(what)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP the part with all its children while the block runs."""
        pids = self._family(name)
        try:
            for pid in pids:
                _send(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                _send(pid, signal.SIGCONT)

    def _family(self, name: str) -> list[int]:
        process = self.stack.part(name).process
        if process is None:
            return []
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            return [process.pid, *map(int, children.read_text().split())]
        except FileNotFoundError:
            return []

    @contextmanager
    def no_room_for_files(self, name: str) -> Iterator[None]:
        """Let the part's process write no file beyond its first byte (RLIMIT_FSIZE), as on a full disk."""
        pids = self._family(name)  # none while it is being started again
        for pid in pids:
            _limit_files(pid, 1)
        yield
        for pid in pids:
            _limit_files(pid, resource.RLIM_INFINITY)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no free byte on the file system of PostgreSQL."""
        assert self.disk is not None
        ballast = self.disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, suppress(OSError):  # the last one: no space left
                free = os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_frsize
                os.posix_fallocate(file.fileno(), 0, max(1, free - PAGES))
                file.seek(0, os.SEEK_END)
                while True:
                    file.write(bytes(PAGES))
            yield
        finally:
            ballast.unlink()

    def step_clock(self, service: str, by_s: float) -> None:
        """Step the wall clock of one service; it stands right again when the seed is over."""
        assert self.chaos is not None
        file = clock_file(self.chaos, service)
        file.write_text(str(by_s), encoding="utf-8")
        self.undo.callback(file.unlink, missing_ok=True)

    def run_verb(self, command: str) -> None:
        """Run a command of the operator's as it is written in a message."""
        done = self.try_verb(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def try_verb(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        words = shlex.split(command)
        assert words[0] == "maestro", command
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *words[1:]],
            cwd=CHECKOUT,
            env={**self.stack.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=VERB_WITHIN_S,
            check=False,
        )

    def named_verb(self, service: str, verb: str, since: int) -> str:
        """Wait until the log of the service, from byte `since` on, names a command with `verb`; return the command."""
        found: list[str] = []
        pattern = re.compile(rf"`(maestro bus {verb} [^`]*)`")

        def is_named() -> bool:
            found[:] = pattern.findall(self.log(service, since))
            return bool(found)

        self.stack.wait_for(is_named, f"{service} to name `maestro bus {verb}`")
        return found[-1]

    def log(self, service: str, since: int = 0) -> str:
        """Return what the service has logged from byte `since` on, JSON escapes undone."""
        with self.stack.places.log_of(service).open("rb") as log:
            log.seek(since)
            return log.read().decode("utf-8", "replace").replace('\\"', '"')

    def log_end(self, service: str) -> int:
        """Return how long the service's log is."""
        return self.stack.places.log_of(service).stat().st_size

    def ensure_up(self) -> None:
        """Return when every part answers; what was given up is tried again."""
        status = live_status(self.stack.places)
        if status is not None and status.failed():
            bring_up(self.stack.places, self.stack.environ, lambda _: None, PROGRAM)
        self.stack.wait_until_ready()

    @contextmanager
    def second(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """A second process of the service beside the supervised one, killed at the block's end."""
        part = self._part(service)
        assert isinstance(part, ServicePart)
        launch = part.launch()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        told = {name: value for name, value in self.stack.environ.items() if name.startswith("MAESTRO_")}
        own = {"MAESTRO_INSTANCE": "second", "MAESTRO_PORT": str(port)}
        env = {name: value for name, value in {**told, **launch.env, **own}.items() if name != OTLP_GRPC_SETTING}
        with self.stack.places.log_of(f"{service}.second").open("ab") as log:
            process = subprocess.Popen(launch.argv, cwd=launch.cwd, env=env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def back_up(self, database: str) -> None:
        """Keep a copy of the database as it now is; whoever uses it loses the connection."""
        asyncio.run(self._as_admin(database, [f"CREATE DATABASE {database}_backup TEMPLATE {database}"]))

    def restore(self, database: str) -> None:
        """Put the copy in the database's place."""
        steps = [
            f"ALTER DATABASE {database} RENAME TO {database}_lost",
            f"ALTER DATABASE {database}_backup RENAME TO {database}",
            OWNER_AND_GRANTS.format(restored=database, lost=f"{database}_lost"),
            f"DROP DATABASE {database}_lost WITH (FORCE)",
        ]
        asyncio.run(self._as_admin(database, steps))

    def reached(self, database: str) -> int:
        """Return the sum of the offsets that the consumers of this database have stored."""
        return asyncio.run(_reached(self._postgres().admin_dsn().replace("/postgres?", f"/{database}?")))

    def _postgres(self) -> Postgres:
        part = self._part("postgres")
        assert isinstance(part, Postgres)
        return part

    def _part(self, name: str) -> Part:
        plan = plan_chaos if self.chaos else plan_parts
        return next(one for one in plan(self.stack.places, self.stack.environ) if one.name == name)

    async def _as_admin(self, database: str, statements: list[str]) -> None:
        admin = await asyncpg.connect(self._postgres().admin_dsn())
        try:
            for statement in statements:
                await _alone(admin, database, statement)
        finally:
            await admin.close()


async def _reached(dsn: str) -> int:
    admin = await asyncpg.connect(dsn)
    try:
        return int(await admin.fetchval("SELECT coalesce(sum(next), 0) FROM consumer_offset"))
    finally:
        await admin.close()


async def _alone(admin: asyncpg.Connection[asyncpg.Record], database: str, statement: str) -> None:
    """Run a statement that wants the database for itself: end whoever is connected, until it gets through."""
    for _ in range(TRIES):
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE $1 || '%'", database
        )
        try:
            await admin.execute(statement)
        except asyncpg.ObjectInUseError:
            continue
        return
    raise AssertionError(f"{database} is never free: {statement}")


def _send(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return


def _limit_files(pid: int, soft: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    except ProcessLookupError:
        return
