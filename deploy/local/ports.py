"""Free TCP ports of 127.0.0.1, chosen once and remembered, so that addresses survive a restart."""

from __future__ import annotations

import json
import socket
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

    Args:
        path: the file; created at the first choice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self) -> dict[str, int]:
        """Every remembered port by name."""
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}

    def port(self, name: str) -> int:
        """The remembered port of `name`; chosen now if there is none."""
        known = self.known()
        if name not in known:
            known[name] = _pick(set(known.values()))
            self._save(known)
        return known[name]

    def free_port(self, name: str) -> int:
        """The port of `name` for a server that is about to start: chosen anew if somebody else has taken it."""
        known = self.known()
        if name in known and not is_free(known[name]):
            del known[name]
            self._save(known)
        return self.port(name)

    def _save(self, known: dict[str, int]) -> None:
        write_private(self._path, json.dumps(known, indent=1, sort_keys=True) + "\n")
