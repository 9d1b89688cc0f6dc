"""From records to handlers: decode, find the route, restore the trace, and name the one record that cannot be taken."""

from __future__ import annotations

import asyncpg

from libs.bus.envelope import decode, meta_of
from libs.bus.records import Record
from libs.bus.routes import Routes
from libs.bus.subscription import PoisonRecord
from libs.runtime.errors import Rejected
from libs.runtime.tracing import span
from libs.schemas import topics
from libs.schemas.cloudevents import BadEvent
from libs.store.faults import is_poison
from libs.store.pool import Tx


class Dispatch:
    """Handles batches of events by the routes of one consumer."""

    def __init__(self, routes: Routes) -> None:
        """Take the routes."""
        self._routes = routes

    async def handle(self, tx: Tx, records: list[Record]) -> None:
        """Give every record to its handler, one after the other; raise PoisonRecord for the first that is refused."""
        for record in records:
            try:
                await self._one(tx, record)
            except Rejected as error:
                raise PoisonRecord(record, f"{error.code}: {error.detail}") from error
            except asyncpg.PostgresError as error:
                if is_poison(error):
                    raise PoisonRecord(record, f"SQLSTATE {error.sqlstate}: {error}") from error
                raise

    async def _one(self, tx: Tx, record: Record) -> None:
        meta = meta_of(record)
        if meta.type not in topics.topic(record.topic).types:
            raise BadEvent(f"{meta.type} is not a type of topic {record.topic}")
        route = self._routes.find(meta.type)
        if route is None:
            return
        model, handler = route
        received = decode(record, model, meta)
        with span(f"consume {meta.type}", parent=meta.traceparent):
            await handler(tx, received)
