"""What evidence hears: invoices that were issued, and changes that people made."""

from __future__ import annotations

from typing import Final

from libs.bus.consumer import EventConsumer
from libs.bus.ports import Bus
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription
from libs.schemas.events import ChangeRecorded, InvoiceIssued
from libs.store.pool import Pool
from services.evidence.handlers import Recorder, Signer

SERVICE: Final = "evidence"
INVOICES_TOPIC: Final = "invoices"
AUDIT_TOPICS: Final = ("identity-audit", "metering-audit", "quota-audit", "invoicing-audit", "evidence-audit")


def routes_of(signer: Signer) -> Routes:
    """Return which handler takes which event."""
    routes = Routes()
    routes.on(InvoiceIssued, signer.on_invoice_issued)
    return routes


def audit_routes_of(recorder: Recorder) -> Routes:
    """Return which handler takes which event of the record of changes."""
    routes = Routes()
    routes.on(ChangeRecorded, recorder.on_change_recorded)
    return routes


def audit_consumer(bus: Bus, pool: Pool, instance: str, recorder: Recorder) -> EventConsumer:
    """Return the consumer of changes; each service says them on a topic of its own."""
    return EventConsumer(bus, pool, Subscription(SERVICE, "audit", AUDIT_TOPICS, instance), audit_routes_of(recorder))


def invoice_consumer(bus: Bus, pool: Pool, instance: str, signer: Signer) -> EventConsumer:
    """Return the consumer of issued invoices."""
    subscription = Subscription(SERVICE, "invoices", (INVOICES_TOPIC,), instance)
    return EventConsumer(bus, pool, subscription, routes_of(signer))
