"""Keeps a directory fed: all of the compacted topic tenant-changes, from its start, and then as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from libs.access.directory import Directory
from libs.bus.envelope import decode, meta_of
from libs.bus.ports import Bus
from libs.bus.records import Record
from libs.bus.table import CompactedTable
from libs.runtime.background import background
from libs.schemas.cloudevents import BadEvent
from libs.schemas.events import KeyChanged, TenantChanged

TOPIC: Final = "tenant-changes"

_log = logging.getLogger(__name__)


@asynccontextmanager
async def fed(directory: Directory, bus: Bus) -> AsyncIterator[None]:
    """Feed `directory` while the block runs. It answers once it is caught up, not before."""
    async with background(f"reader of {TOPIC}", _feed(directory, bus)):
        yield


async def _feed(directory: Directory, bus: Bus) -> None:
    table = CompactedTable(bus, TOPIC, partial(apply_record, directory))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(table.run())
            await table.ready.wait()
            directory.trust()
    finally:
        directory.distrust()


def apply_record(directory: Directory, record: Record) -> None:
    """Apply one record of tenant-changes. Its subject is forgotten by a tombstone, and by what cannot be understood.

    A change to a key that we fail to read, or that is said by a type of tomorrow, may be its revocation: the key is
    refused until it is said again.
    """
    if record.value is None:
        _forget(directory, record)
        return
    try:
        meta = meta_of(record)
        if meta.type == KeyChanged.TYPE:
            directory.on_key_changed(decode(record, KeyChanged, meta).data)
        elif meta.type == TenantChanged.TYPE:
            directory.on_tenant_changed(decode(record, TenantChanged, meta).data)
        else:  # libs/bus/unknown_types.py says so, once for each type
            _forget(directory, record)
    except BadEvent as error:
        _log.error("%s at %d: its subject is refused from now on: %s", record.source, record.offset, error)
        _forget(directory, record)


def _forget(directory: Directory, record: Record) -> None:
    kind, _, subject_id = (record.key or b"").decode("utf-8", "replace").partition("/")
    if kind == "key":
        directory.forget_key(subject_id)
    elif kind == "tenant":
        directory.forget_tenant(subject_id)
