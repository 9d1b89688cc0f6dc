"""Free TCP ports of 127.0.0.1, chosen once and remembered, so that addresses survive a restart."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from deploy.local.credentials import write_private

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now (a port in TIME_WAIT counts as free, as it does for servers)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _pick(taken: set[int]) -> int:
    """A port that the kernel calls free and nobody here has chosen."""
    held: list[socket.socket] = []
    try:
        while True:  # ends: each turn holds one more port, so the kernel offers another
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(probe)
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
            if port not in taken:
                return port
    finally:
        for probe in held:
            probe.close()


class Ports:
    """Port numbers by name, kept in one JSON file.

    Safe to use from the threads that prepare parts side by side.

    Args:
        path: the file; created at the first choice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def known(self) -> dict[str, int]:
        """Every remembered port by name."""
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}

    def port(self, name: str) -> int:
        """The remembered port of `name`; chosen now if there is none."""
        with self._lock:
            known = self.known()
            return known[name] if name in known else self._choose(name, 0)

    def free_port(self, name: str, wanted: int = 0) -> int:
        """The port of `name` for a server that is about to start.

        It is the remembered one while that is free, else `wanted` if that is not 0 and free, else any.
        """
        with self._lock:
            known = self.known()
            return known[name] if name in known and is_free(known[name]) else self._choose(name, wanted)

    def _choose(self, name: str, wanted: int) -> int:
        others = {key: port for key, port in self.known().items() if key != name}
        taken = set(others.values())
        port = wanted if wanted and wanted not in taken and is_free(wanted) else _pick(taken)
        write_private(self._path, json.dumps(others | {name: port}, indent=1, sort_keys=True) + "\n")
        return port
