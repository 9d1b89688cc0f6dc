"""Meters at run time: processes keep up with the store's versions, operators add to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from libs.runtime.acts import Act
from libs.runtime.clock import Clock
from libs.runtime.errors import NotFound
from libs.schemas.values import GRAIN
from libs.store.pool import Pool, Tx, transaction
from services.metering.domain.meters import Metadata, Meter, MeterDocument, Meters, MeterSpec
from services.metering.domain.versions import (
    MAX_METERS,
    SINCE_EVER,
    MeterBook,
    MeterVersion,
    check_follows,
    earliest,
)
from services.metering.errors import BadMeter, MeterMoved, MetersFull
from services.metering.store import meters
from services.metering.store.meters import Kept

LOOK_PAUSE_S: Final = 5.0
INSTALLER: Final = Act("set-up", "set-up", "the meters that come with the service")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Keeps `book` as the store is."""

    pool: Pool
    book: MeterBook
    clock: Clock

    async def begin(self, shipped: Meters) -> None:
        """Give a store without any meter those that come with the service, in force since ever; read what it holds."""
        versions = [MeterVersion(document, SINCE_EVER) for document in shipped.documents()]
        async with transaction(self.pool) as tx:
            await meters.install(tx, versions, self.clock.now(), INSTALLER)
            self.book.read([one.version for one in await meters.kept(tx)], await meters.epoch(tx))
        self.book.note_read(self.clock.monotonic())

    async def turn(self) -> bool:
        """Look whether there is more; never says so."""
        asked_s = self.clock.monotonic()
        async with transaction(self.pool) as tx:
            await meters.follow(tx, self.book, await meters.epoch(tx))
        self.book.note_read(asked_s)
        return False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator wants of a meter: its next version, after number `follows` (0: there is none yet)."""

    name: str
    follows: int
    spec: MeterSpec | None
    effective_from: datetime | None = None

    @property
    def is_retired(self) -> bool:
        """Whether the meter is to end."""
        return self.spec is None


@dataclass(frozen=True, slots=True)
class MeterDesk:
    """Shows versions, and adds to them; `book` is kept as the store is."""

    pool: Pool
    clock: Clock
    book: MeterBook

    async def require(self, name: str) -> Meter:
        """Return the newest version of a meter, asking the store where it is not known here; raise NotFound."""
        if name not in self.book.by_metric:
            async with transaction(self.pool) as tx:
                await meters.follow(tx, self.book, await meters.epoch(tx))
        if name not in self.book.by_metric:
            raise NotFound(f"there is no meter {name!r}; there are {', '.join(sorted(self.book.by_metric))}")
        return self.book.by_metric[name]

    async def all(self) -> list[list[Kept]]:
        """Return the versions of each meter, by name."""
        async with transaction(self.pool) as tx:
            found = await meters.kept(tx)
        return [list(versions) for _, versions in groupby(found, key=lambda one: one.version.name)]

    async def one(self, name: str) -> Sequence[Kept]:
        """Return the versions of one meter; raise NotFound."""
        async with transaction(self.pool) as tx:
            found = await meters.kept(tx, name)
        if not found:
            raise NotFound(f"there is no meter {name!r}")
        return found

    async def put(self, wanted: Wanted, act: Act, *, dry_run: bool) -> tuple[Kept, bool]:
        """Add the version; return it, and whether it is new: the same once more is the one that stands.

        Raises BadMeter, MeterMoved, MetersFull, NotFound.
        """
        async with transaction(self.pool) as tx:
            await meters.hold_epoch(tx)
            created_at = self.clock.now()
            before = await meters.kept(tx, wanted.name)
            stands = _same(wanted, before)
            if stands is not None:
                return stands, False
            version = await self._next(tx, wanted, before, created_at)
            if not dry_run:
                await meters.add(tx, version, created_at, act)
        return Kept(version, created_at, act.actor, act.reason), True

    async def _next(self, tx: Tx, wanted: Wanted, before: Sequence[Kept], created_at: datetime) -> MeterVersion:
        last = before[-1].version if before else None
        if wanted.follows != (0 if last is None else last.number):
            raise MeterMoved(f"the newest version of {wanted.name} is {last.number if last else 0}: look at it first")
        if last is None and len({one.version.name for one in await meters.kept(tx)}) >= MAX_METERS:
            raise MetersFull(f"there are {MAX_METERS} meters, retired ones too; change one of them")
        if wanted.spec is None and (last is None or last.is_retired):
            raise NotFound(f"there is no meter {wanted.name!r} that is not retired")
        spec = wanted.spec or (last.document.spec if last else None)
        assert spec is not None
        soonest = earliest(created_at)
        begins = wanted.effective_from or max(soonest, _after(last))
        if begins < soonest:
            raise BadMeter(
                f"a version takes effect at {soonest:%Y-%m-%dT%H:%M}Z at the soonest: all edges know it by then"
            )
        document = MeterDocument(
            kind="Meter", metadata=Metadata(name=wanted.name, version=wanted.follows + 1), spec=spec
        )
        version = MeterVersion(document, begins, wanted.is_retired)
        check_follows(version, last)
        return version


def _after(last: MeterVersion | None) -> datetime:
    return SINCE_EVER if last is None else last.effective_from + GRAIN


def _same(wanted: Wanted, before: Sequence[Kept]) -> Kept | None:
    """Return the newest version where it is what is wanted after the one before it."""
    if not before:
        return None
    newest = before[-1]
    version = newest.version
    is_same = (
        wanted.follows == version.number - 1
        and wanted.is_retired == version.is_retired
        and wanted.spec in (None, version.document.spec)
        and wanted.effective_from in (None, version.effective_from)
    )
    return newest if is_same else None
