"""Every instrument of metering, declared once. Names and units follow the OpenTelemetry semantic conventions."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import get_meter

from libs.runtime.metrics import Snapshot

_METER: Final = get_meter("maestro.metering")

EDGE_EVENTS: Final = _METER.create_counter(
    "maestro.metering.edge.events",
    unit="{event}",
    description="events that came to an edge, by `verdict`: accepted, unmetered (spans that are not usage), a reason",
)
ROUTED_RECORDS: Final = _METER.create_counter(
    "maestro.metering.router.records",
    unit="{record}",
    description="records of foreign topics that were read and made durable, by `topic`; what was refused: dead letters",
)
BATCH_EVENTS: Final = _METER.create_counter(
    "maestro.metering.batch.events",
    unit="{event}",
    description="events that shard owners decided over, by `outcome`: counted, duplicate, conflict",
)
IDS_MERGED: Final = _METER.create_counter(
    "maestro.metering.ids.merged", unit="{event}", description="event ids that were written again into a larger run"
)
ADJUSTMENTS: Final = _METER.create_counter(
    "maestro.metering.adjustments", unit="{event}", description="amounts that came for a period after its close"
)
WINDOWS_PUBLISHED: Final = _METER.create_counter(
    "maestro.metering.windows.published", unit="{window}", description="totals told on usage-windows"
)
OVERFLOW_EVENTS: Final = _METER.create_counter(
    "maestro.metering.overflow.events",
    unit="{event}",
    description="events beyond a tenant's share, by `step` (diverted to usage-overflow, forwarded) and its `weight`",
)
WAITING_BOUND: Final = Snapshot(
    _METER,
    "maestro.metering.waiting.bound",
    unit="{event}",
    description="events of this process that may wait for shard owners before tenants are held to their shares",
)
WAITING_EVENTS: Final = Snapshot(
    _METER,
    "maestro.metering.waiting.events",
    unit="{event}",
    description="events that this process wrote to usage-shards and that are not counted",
)
WAITING_AGE: Final = Snapshot(
    _METER, "maestro.metering.waiting.age", unit="s", description="how long the oldest of these waits, about"
)
CLOSES_WAITING: Final = Snapshot(
    _METER, "maestro.metering.closes.waiting", unit="{close}", description="closes asked for and not yet done"
)
CLOSE_AGE: Final = Snapshot(
    _METER,
    "maestro.metering.close.age",
    unit="s",
    description="how long the oldest of these waits, since its request was taken; 0 without one",
)
CORRECTIONS: Final = _METER.create_counter(
    "maestro.metering.corrections",
    unit="{correction}",
    description="corrections that were answered, by `action` (void, amend) and `outcome` (applied, refused)",
)
CORRECTIONS_WAITING: Final = Snapshot(
    _METER, "maestro.metering.corrections.waiting", unit="{correction}", description="corrections not yet answered"
)
CORRECTION_AGE: Final = Snapshot(
    _METER,
    "maestro.metering.correction.age",
    unit="s",
    description="how long the oldest of these waits, since it was asked for; 0 without one",
)
ROUTER_STOPPED: Final = Snapshot(
    _METER,
    "maestro.metering.router.stopped",
    unit="{router}",
    description="1 while the router of the bound topic `topic` stands still until somebody acts; the log says on what",
)
ROUTER_KEY_UNUSABLE: Final = Snapshot(
    _METER,
    "maestro.metering.router.key.unusable",
    unit="",
    description="1 while the key that the foreign `topic` is bound to may not be used, and its records wait; else 0",
)
ARCHIVED_EVENTS: Final = _METER.create_counter(
    "maestro.metering.archive.events", unit="{event}", description="occurrences of events that are in published files"
)
ARCHIVED_FILES: Final = _METER.create_counter(
    "maestro.metering.archive.files", unit="{file}", description="files of the archive that were published"
)
ARCHIVED_BYTES: Final = _METER.create_counter(
    "maestro.metering.archive.size", unit="By", description="bytes of these files"
)
ARCHIVE_SKIPPED: Final = _METER.create_counter(
    "maestro.metering.archive.skipped",
    unit="{record}",
    description="records without readable events: shard owners set them aside as dead letters",
)
ARCHIVE_STANDS: Final = Snapshot(
    _METER,
    "maestro.metering.archive.stands",
    unit="",
    description="1 from when the archiver could not go on until it keeps a lot again; the log says why; else 0",
)


def show_isolation(bound: float, waiting: int, waited_s: float) -> None:
    """Show how many events may wait for shard owners, how many do, and for how long."""
    WAITING_BOUND.replace("metering", [({}, bound)])
    WAITING_EVENTS.replace("metering", [({}, waiting)])
    WAITING_AGE.replace("metering", [({}, waited_s)])
