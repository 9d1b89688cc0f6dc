"""What evidence hears: invoices that were issued."""

from __future__ import annotations

from typing import Final

from libs.bus.consumer import EventConsumer
from libs.bus.ports import Bus
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.schemas.events import InvoiceIssued
from libs.store.pool import Pool
from services.evidence.handlers import Signer

SERVICE: Final = "evidence"
INVOICES_TOPIC: Final = "invoices"


def routes_of(signer: Signer) -> Routes:
    """Return which handler takes which event."""
    routes = Routes()
    routes.on(InvoiceIssued, signer.on_invoice_issued)
    return routes


def invoice_consumer(bus: Bus, pool: Pool, instance: str, signer: Signer) -> EventConsumer:
    """Return the consumer of issued invoices."""
    subscription = Subscription(SERVICE, "invoices", (INVOICES_TOPIC,), instance)
    return EventConsumer(bus, pool, subscription, routes_of(signer))
