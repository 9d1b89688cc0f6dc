"""Every instrument of the bus, declared once. Labels: consumer, topic, partition, reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.metrics import get_meter

from libs.runtime.metrics import Snapshot

_METER: Final = get_meter("maestro.bus")

DEAD_LETTERS: Final = _METER.create_counter(
    "maestro.bus.dead.letters", unit="{record}", description="records set aside, by consumer, topic and reason"
)
RECORDS: Final = _METER.create_counter(
    "maestro.bus.consumer.records",
    unit="{record}",
    description="records whose step is committed, by consumer and topic",
)
PUBLISHED: Final = _METER.create_counter(
    "maestro.bus.relay.published", unit="{event}", description="outbox rows made durable in Kafka"
)
DENIED: Final = _METER.create_counter(
    "maestro.bus.denied",
    unit="{denial}",
    description="what the broker did not allow this process to do, by topic (empty where it was none of ours)",
)
TABLE_UNKNOWN: Final = _METER.create_counter(
    "maestro.bus.table.unknown",
    unit="{record}",
    description="records that tables in memory read and whose type is not listed for their topic, by topic",
)

LAG: Final = Snapshot(
    _METER,
    "maestro.bus.consumer.lag",
    unit="{record}",
    description="offsets of the partition that the consumer has not handled",
)
LAG_AGE: Final = Snapshot(
    _METER,
    "maestro.bus.consumer.lag.age",
    unit="s",
    description="how long ago the oldest record was appended that the consumer has not handled; 0 without one",
)
RETENTION_USED: Final = Snapshot(
    _METER,
    "maestro.bus.consumer.retention.used.ratio",
    unit="1",
    description="age of the oldest record that is not handled, divided by how long its topic keeps it; 1 is a loss",
)
WATERMARK: Final = Snapshot(
    _METER,
    "maestro.bus.consumer.watermark.timestamp",
    unit="s",
    description="instant (Unix time) up to which everything appended to the topic is handled",
)
TABLE_CURRENT: Final = Snapshot(
    _METER,
    "maestro.bus.table.current.timestamp",
    unit="s",
    description="instant (Unix time) at which the table in memory was last known to hold all of its topic",
)
OUTBOX_ROWS: Final = Snapshot(
    _METER, "maestro.bus.outbox.rows", unit="{row}", description="what is said and not yet known to be published"
)
OUTBOX_AGE: Final = Snapshot(
    _METER, "maestro.bus.outbox.age", unit="s", description="age of the oldest outbox row; 0 without one"
)
LEASE_HELD: Final = Snapshot(
    _METER, "maestro.bus.relay.lease.held", unit="", description="1 while some process holds the relay's lease"
)
LETTERS_WAITING: Final = Snapshot(
    _METER,
    "maestro.bus.dead.letters.waiting",
    unit="{record}",
    description="records set aside that wait for a person's decision, by consumer and topic",
)
DEAD_LETTERS_KEPT: Final = Snapshot(
    _METER,
    "maestro.bus.dead.letters.kept",
    unit="{record}",
    description="offsets that the dead letter topic of `topic` holds",
)
SAMPLED_AT: Final = Snapshot(
    _METER,
    "maestro.bus.sampled.timestamp",
    unit="s",
    description="instant (Unix time) at which all of these were last known",
)
CONNECTIONS: Final = Snapshot(
    _METER,
    "db.client.connection.count",
    unit="{connection}",
    description="connections of the pool, by `db_client_connection_state`: idle or used",
)
CONNECTIONS_MAX: Final = Snapshot(
    _METER, "db.client.connection.max", unit="{connection}", description="connections that the pool may open"
)
_OF_STORE_AND_BROKER: Final = (
    LAG,
    LAG_AGE,
    RETENTION_USED,
    WATERMARK,
    OUTBOX_ROWS,
    OUTBOX_AGE,
    LEASE_HELD,
    LETTERS_WAITING,
    DEAD_LETTERS_KEPT,
)


def show_connections(service: str, *, idle: int, used: int, most: int) -> None:
    """Show how full the pool of `service` is."""
    pool = {"db.client.connection.pool.name": service}
    states = {"idle": idle, "used": used}
    CONNECTIONS.replace(service, [({**pool, "db.client.connection.state": one}, n) for one, n in states.items()])
    CONNECTIONS_MAX.replace(service, [(pool, most)])


def show_lags(service: str, lags: Mapping[tuple[str, str, int], int]) -> None:
    """Show how many records each (consumer, topic, partition) has not handled."""
    LAG.replace(
        service,
        [
            ({"consumer": consumer, "topic": topic, "partition": number}, lag)
            for (consumer, topic, number), lag in lags.items()
        ],
    )


def show_by_topic(service: str, gauge: Snapshot, values: Mapping[tuple[str, str], float]) -> None:
    """Show one value for each (consumer, topic)."""
    gauge.replace(service, [({"consumer": consumer, "topic": topic}, one) for (consumer, topic), one in values.items()])


def forget_vitals(service: str) -> None:
    """Show nothing of store and broker that may have changed unseen."""
    for gauge in _OF_STORE_AND_BROKER:
        gauge.clear(service)
