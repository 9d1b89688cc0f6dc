"""From records to handlers: decode, find the route, restore the trace, and name the records that cannot be taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from libs.bus.envelope import Received, decode, meta_of
from libs.bus.records import Record
from libs.bus.routes import Handler, Routes
from libs.bus.subscription import Poison, PoisonRecords, refused, require_read
from libs.runtime.errors import Rejected
from libs.runtime.tracing import span
from libs.schemas import topics
from libs.schemas.cloudevents import BadEvent
from libs.store.faults import is_poison, poison_reason
from libs.store.pool import Tx

Routed = tuple[Handler[Any], Received[Any]]


class Dispatch:
    """Handles batches of events by the routes of one consumer."""

    def __init__(self, routes: Routes) -> None:
        """Take the routes."""
        self._routes = routes

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        """Give every record to its handler, one after the other.

        Raises PoisonRecords: for all that cannot be understood, before the first is handled, so that any number of them
        costs one more try; else for the first that its handler refuses.
        """
        for routed in self._understood(records):
            await _handle(tx, routed)

    async def handle_each(self, tx: Tx, records: list[Record]) -> list[Poison]:
        """Give every record to its handler under a savepoint of its own; return those that were refused.

        Two more round trips a record, and no further transaction, however many are refused.
        """
        poisons: list[Poison] = []
        for record in records:
            try:
                async with tx.transaction():
                    for routed in self._understood([record]):
                        await _handle(tx, routed)
            except PoisonRecords as error:
                poisons += error.poisons
        return poisons

    def _understood(self, records: Sequence[Record]) -> list[Routed]:
        routed: list[Routed] = []
        poisons: list[Poison] = []
        for record in records:
            try:
                found = self._route(record)
            except Rejected as error:
                poisons.append(refused(record, error))
                continue
            routed += [found] if found else []
        if poisons:
            raise PoisonRecords(*poisons)
        return routed

    def _route(self, record: Record) -> Routed | None:
        require_read(record)
        meta = meta_of(record)
        if meta.type not in topics.topic(record.topic).types:
            raise BadEvent(f"{meta.type} is not a type of topic {record.topic}")
        route = self._routes.find(meta.type)
        if route is None:
            return None
        model, handler = route
        return handler, decode(record, model, meta)


async def _handle(tx: Tx, routed: Routed) -> None:
    handler, received = routed
    try:
        with span(f"consume {received.meta.type}", parent=received.meta.traceparent):
            await handler(tx, received)
    except Rejected as error:
        raise PoisonRecords(refused(received.record, error)) from error
    except asyncpg.PostgresError as error:
        if is_poison(error):
            raise PoisonRecords(Poison(received.record, poison_reason(error), str(error))) from error
        raise
