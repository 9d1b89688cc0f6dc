"""The record of a stack: which process is which part and how it fares. The supervisor writes it, everybody reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict, Unpack

from deploy.local.places import Places
from deploy.local.processes import Identity


class Phase(StrEnum):
    """Where a part stands."""

    PLANNED = "planned"  # known, not begun
    WAITING = "waiting"  # for the parts that it needs
    PREPARING = "preparing"
    STARTING = "starting"  # the process runs and does not answer yet
    READY = "ready"
    SILENT = "not answering"  # it was ready, runs still, and does not answer now
    RESTARTING = "restarting"  # it died and is started again after a delay
    FAILED = "failed"  # given up until the next `maestro up`
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part: its phase, what it waits for or why it failed, its process, and where people find it.

    `also_at` is where it listens beside its address. `answer` is what its probe got last, `fix` the command to try
    when it failed, `last_end` how long its last process took to end, or that it had to be killed. `process` is None
    where the part is a system server of somebody else.
    """

    name: str
    phase: Phase = Phase.PLANNED
    detail: str = ""
    answer: str = ""
    fix: str = ""
    process: Identity | None = None
    stop_signal: int = 15
    stop_grace_s: float = 10.0
    restarts: int = 0
    last_end: str = ""
    address: str = ""
    also_at: str = ""


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The supervisor and its parts, in the order in which they start."""

    supervisor: Identity
    parts: tuple[PartStatus, ...]

    def is_ready(self) -> bool:
        """Whether every part answers."""
        return all(part.phase is Phase.READY for part in self.parts)

    def failed(self) -> tuple[PartStatus, ...]:
        """The parts that were given up."""
        return tuple(part for part in self.parts if part.phase is Phase.FAILED)

    def part(self, name: str) -> PartStatus | None:
        """One part by its name."""
        return next((part for part in self.parts if part.name == name), None)


def status_file(places: Places) -> Path:
    """Where the record lies."""
    return places.run / "status.json"


def read_status(places: Places) -> StackStatus | None:
    """The last record, whether or not its supervisor still runs; None if there is none."""
    try:
        text = status_file(places).read_text()
    except FileNotFoundError:
        return None
    return _decode(json.loads(text))


def live_status(places: Places | None) -> StackStatus | None:
    """The record of a supervisor that runs now, else None."""
    status = read_status(places) if places else None
    return status if status and status.supervisor.is_alive() else None


def _decode(document: dict[str, Any]) -> StackStatus:
    return StackStatus(
        supervisor=Identity(**document["supervisor"]),
        parts=tuple(
            PartStatus(
                **{
                    **part,
                    "phase": Phase(part["phase"]),
                    "process": Identity(**part["process"]) if part["process"] else None,
                }
            )
            for part in document["parts"]
        ),
    )


class Changes(TypedDict, total=False):
    """Fields of a part's status that change while it runs."""

    phase: Phase
    detail: str
    answer: str
    fix: str
    process: Identity | None
    stop_signal: int
    stop_grace_s: float
    restarts: int
    last_end: str
    address: str
    also_at: str


class Board:
    """The record as its one writer holds it; each change is on disk when the call returns.

    Args:
        places: the folders of the stack.
        supervisor: the process that writes.
        names: the parts, in the order in which they start.
    """

    def __init__(self, places: Places, supervisor: Identity, names: tuple[str, ...]) -> None:
        self._path = status_file(places)
        self._supervisor = supervisor
        self._parts = {name: PartStatus(name) for name in names}
        self._lost = False
        self._save()

    def __getitem__(self, name: str) -> PartStatus:
        return self._parts[name]

    def set(self, name: str, **changes: Unpack[Changes]) -> None:
        """Change fields of one part; nothing is written where nothing changes."""
        changed = replace(self._parts[name], **changes)
        if changed != self._parts[name]:
            self._parts[name] = changed
            self._save()

    def is_ours(self) -> bool:
        """Whether the record on disk is still this one; once it is not, nothing is written any more."""
        try:
            on_disk = _decode(json.loads(self._path.read_text()))
        except FileNotFoundError:
            self._lost = True
        else:
            self._lost = self._lost or on_disk.supervisor != self._supervisor
        return not self._lost

    def _save(self) -> None:
        if self._lost:
            return
        status = StackStatus(self._supervisor, tuple(self._parts.values()))
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_text(json.dumps(asdict(status), indent=1))
            draft.replace(self._path)
        except FileNotFoundError:  # the folder was removed under us: the supervisor notices, and stops what it started
            self._lost = True
