"""Runs as files of this process, mapped into memory: a cache of the store, made anew where it is not what it should be.

A file holds a header, the four columns and the filter. It is written beside its place and moved there once it is whole
and on the disk. When it is opened its checksum is computed over all of it: what is torn, changed or foreign is no file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np

from services.metering.domain.probing import mark, marks_of, words_for
from services.metering.domain.runs import ENTRY_BYTES, Columns, Halves

_MAGIC: Final = b"maestro.run.1\n\0\0"
_HEADER: Final = struct.Struct("<16s16sQI20x")  # magic, the run's id, entries, checksum of all that follows: 64 bytes
_SUFFIX: Final = ".run"
_UNFINISHED: Final = ".part"
_PIECE_BYTES: Final = 1 << 22  # of a checksum: other threads go on in between


class NoFile(Exception):
    """A file cannot be written: the disk is full, or the folder is no folder of ours. The store has all of it."""


Room: TypeAlias = np.memmap[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """A run's columns and filter, mapped: pages come when they are looked into, and go when memory is short."""

    columns: Columns
    words: Halves


class RunWriter:
    """Writes the file of one run, slice by slice."""

    def __init__(self, place: Path, run: UUID, entries: int) -> None:
        """Begin; a file of an earlier attempt is written over."""
        self._place, self._run, self._entries = place, run, entries
        self._part = place.with_suffix(_UNFINISHED)
        with self._part.open("wb") as file:
            # Writing to a page that the disk has no room for kills the process; so all of it is had before.
            os.posix_fallocate(file.fileno(), 0, _size_of(entries))
        self._room = np.memmap(self._part, np.uint8, mode="r+")
        self._mapped = _mapped(self._room, entries)
        self._written = 0

    def write(self, more: Columns) -> None:
        """Append entries, which come by ascending key."""
        end = self._written + len(more)
        room = self._mapped.columns.part(self._written, end)
        room.high[:], room.low[:] = more.high, more.low
        room.digests[:], room.times_us[:] = more.digests, more.times_us
        mark(self._mapped.words, marks_of(more.low))
        self._written = end

    def finish(self) -> Mapped:
        """Make the file durable, move it to its place and return it mapped. All entries are to be written."""
        if self._written != self._entries:
            raise ValueError(f"{self._written} of {self._entries} entries are written")
        checksum = _checksum(self._room)
        self._room[: _HEADER.size] = np.frombuffer(
            _HEADER.pack(_MAGIC, self._run.bytes, self._entries, checksum), np.uint8
        )
        try:
            self._room.flush()
            self._part.replace(self._place)
        except OSError as error:
            raise NoFile(f"the file of run {self._run.hex} cannot be made durable: {error}") from error
        return self._mapped

    def give_up(self) -> None:
        """Leave nothing behind."""
        self._part.unlink(missing_ok=True)


class RunFiles:
    """The runs that lie in one folder, which no other process uses."""

    def __init__(self, folder: Path) -> None:
        """Know the folder; it is made when the first run is written."""
        self._folder = folder
        self._is_new = True

    def open(self, run: UUID, entries: int) -> Mapped | None:
        """Return the run where a whole file of it lies here, else None."""
        try:
            room = np.memmap(self._place(run), np.uint8, mode="r")
        except (OSError, ValueError):  # not there; or empty, which cannot be mapped
            return None
        if len(room) != _size_of(entries):
            return None
        header = _HEADER.unpack(room[: _HEADER.size].tobytes())
        if header != (_MAGIC, run.bytes, entries, _checksum(room)):
            return None
        return _mapped(room, entries)

    def writer(self, run: UUID, entries: int) -> RunWriter:
        """Begin to write the file of a run; raise NoFile where there is no room for it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return RunWriter(self._place(run), run, entries)
        except OSError as error:
            raise NoFile(f"the file of run {run.hex} cannot be written: {error}") from error

    def remove(self, runs: Collection[UUID]) -> None:
        """Remove the files of these runs, where they have any. What is mapped stays readable until it is let go."""
        for run in runs:
            with suppress(OSError):  # it costs room, and goes when files are next looked through
                self._place(run).unlink(missing_ok=True)

    def keep_only(self, runs: Collection[UUID]) -> None:
        """Remove every file of ours but those of these runs. What is mapped stays readable until it is let go.

        What processes before us did not finish goes the first time.
        """
        kept = {self._place(run).name for run in runs}
        ours = (_SUFFIX, _UNFINISHED) if self._is_new else (_SUFFIX,)
        self._is_new = False
        with suppress(OSError):  # no folder yet, or none of ours: what cannot go costs room and nothing else
            for entry in list(os.scandir(self._folder)):
                if entry.name.endswith(ours) and entry.name not in kept:
                    Path(entry.path).unlink(missing_ok=True)

    def _place(self, run: UUID) -> Path:
        return self._folder / f"{run.hex}{_SUFFIX}"


def _size_of(entries: int) -> int:
    return _HEADER.size + entries * ENTRY_BYTES + words_for(entries) * 8


def _checksum(room: Room) -> int:
    checksum, plain = 0, np.asarray(room).data
    for start in range(_HEADER.size, len(room), _PIECE_BYTES):
        checksum = zlib.crc32(plain[start : start + _PIECE_BYTES], checksum)
    return checksum


def _mapped(room: Room, entries: int) -> Mapped:
    # Plain arrays over the mapping: the class of the mapping itself makes each step of numpy slower.
    words = np.asarray(room)[_HEADER.size :].view(np.uint64)
    high, low, digests, times_us, filtering = np.split(words, [number * entries for number in range(1, 5)])
    return Mapped(Columns(high, low, digests.view(np.int64), times_us.view(np.int64)), filtering)
