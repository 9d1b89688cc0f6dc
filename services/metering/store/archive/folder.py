"""The folder of the archive: lots are staged, published file by file, and cleared where nothing was committed.

    staging/<instance>/<lot>/day=…/tenant_hash=…/…parquet    ours alone; nobody reads here
    usage/day=…/tenant_hash=…/…parquet                       published: a file comes here by one rename, and stays
    aside/…                                                  published, and unknown to the manifest of a restored store

Folders are 0700, files 0600. What is written is synced before anything says that it is there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libs.runtime.crashpoints import crash_point
from services.metering.domain.archiving import ArchiveFile, OffsetRange, day_of, stems_of
from services.metering.errors import ArchiveAway, ArchiveDamaged
from services.metering.store.archive.columns import PLACED

ROW_GROUP_EVENTS: Final = 65_536  # statistics say for each so many rows which tenants and times are in it
ORDER: Final = ("tenant", "time_us", "source", "event_id", "kafka_partition", "kafka_offset", "kafka_index")
ALIKE: Final = [  # columns whose values repeat within a group; a sum over a million amounts takes half the time so
    *("tenant", "source", "event_type", "topic_id"),
    *("amounts.key_value.key", "amounts.key_value.value"),
]


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """The folder at `root`, which all archivers on one store share."""

    root: Path

    @property
    def published(self) -> Path:
        """What readers glob."""
        return self.root / "usage"

    def staging_of(self, instance: str) -> str:
        """Return where lots of `instance` are staged, below `staging`."""
        return f"of-{quote(instance, safe='')}"

    def stage(self, staged_in: str, events: pa.Table, ranges: Sequence[OffsetRange]) -> list[ArchiveFile]:
        """Write a lot's files below `staging/<staged_in>`, and return them once they are durable; raise OSError."""
        files: list[ArchiveFile] = []
        stems = stems_of(ranges)
        for stem, group in stems:
            own = events if len(stems) == 1 else events.filter(_is_of(events, group))
            for day, bucket, part in _parts(own):
                files.append(self._write(staged_in, (day, bucket, f"{stem}.parquet"), part))
                crash_point("metering.archive_file_staged")
        return files

    def publish(self, staged_in: str, file: ArchiveFile) -> None:
        """Move a file to where readers find it; one that is there already stays. Raise ArchiveDamaged for none."""
        target, staged = self.published / file.place, self._staged(staged_in) / file.place
        _make(target.parent)
        try:
            if staged.stat().st_size != file.size_bytes:
                raise ArchiveDamaged(f"{staged} has not the {file.size_bytes} bytes that were written")
            staged.rename(target)
        except FileNotFoundError:
            if not target.is_file():
                raise ArchiveDamaged(f"{staged} is gone, and {target} is not there") from None
        _sync(target.parent)

    def clear_staged(self, staged_in: str) -> None:
        """Remove what is left of a lot's folder."""
        shutil.rmtree(self._staged(staged_in), ignore_errors=True)

    def clear(self, instance: str, kept: Collection[str]) -> int:
        """Remove all that `instance` staged but the lots in `kept`; return how many lots that were."""
        own = self.staging_of(instance)
        left = [f"{own}/{one.name}" for one in _inside(self._staged(own))]
        gone = [one for one in left if one not in kept]
        for staged_in in gone:
            self.clear_staged(staged_in)
        return len(gone)

    def places(self) -> set[str]:
        """Return the places of all published files."""
        return {found.relative_to(self.published).as_posix() for found in self.published.glob("*/*/*.parquet")}

    def set_aside(self, place: str) -> None:
        """Move a published file out of readers' sight."""
        target = self.root / "aside" / place
        _make(target.parent)
        (self.published / place).rename(target)
        _sync(target.parent)

    def locate(self, file: ArchiveFile) -> Path:
        """Return where a published file lies; raise ArchiveAway where none of its size is. Cheaper than `check`."""
        path = self.published / file.place
        try:
            is_whole = path.stat().st_size == file.size_bytes
        except OSError as error:
            raise ArchiveAway(f"{path} cannot be read: {error.strerror}; is the archive's folder there?") from error
        if not is_whole:
            raise ArchiveAway(f"{path} has not the {file.size_bytes} bytes that were written")
        return path

    def check(self, file: ArchiveFile) -> Path:
        """Return where a published file lies; raise ArchiveDamaged where it is not what was written."""
        path = self.published / file.place
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ArchiveDamaged(f"{path} cannot be read: {error.strerror}") from error
        if digest != file.sha256:
            raise ArchiveDamaged(f"{path} is not what was written: its SHA-256 is {digest}, not {file.sha256}")
        return path

    def _staged(self, staged_in: str) -> Path:
        return self.root / "staging" / staged_in

    def _write(self, staged_in: str, where: tuple[int, int, str], events: pa.Table) -> ArchiveFile:
        day, bucket, name = where
        content = _parquet(events)
        digest = hashlib.sha256(content).hexdigest()
        file = ArchiveFile(day_of(day), bucket, name, events.num_rows, len(content), digest)
        path = self._staged(staged_in) / file.place
        _make(path.parent)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        _sync(path.parent)
        return file


def _is_of(events: pa.Table, ranges: Sequence[OffsetRange]) -> pa.ChunkedArray:
    return pc.is_in(events["kafka_partition"], pa.array([one.partition for one in ranges]))


def _parts(events: pa.Table) -> Iterator[tuple[int, int, pa.Table]]:
    """Yield (day, bucket, events in ORDER) for each folder that some of the events belong to."""
    folders = events.group_by(list(PLACED)).aggregate([]).sort_by([(name, "ascending") for name in PLACED])
    for folder in folders.to_pylist():
        day, bucket = (folder[name] for name in PLACED)
        mine = events.filter(pc.and_(pc.equal(events["day"], day), pc.equal(events["tenant_hash"], bucket)))
        yield day, bucket, mine.drop_columns(list(PLACED)).sort_by([(name, "ascending") for name in ORDER])


def _parquet(events: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    order = [pq.SortingColumn(events.schema.get_field_index(name)) for name in ORDER[:4]]
    pq.write_table(
        events,
        sink,
        compression="zstd",
        row_group_size=ROW_GROUP_EVENTS,
        use_dictionary=ALIKE,
        write_statistics=True,
        sorting_columns=order,
    )
    return sink.getvalue()


def _make(folder: Path) -> None:
    """Make a folder and those above it, 0700 each, and sync what holds them."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
