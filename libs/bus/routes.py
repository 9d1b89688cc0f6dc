"""Which handler takes which event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from libs.bus.envelope import Received
from libs.runtime.errors import Broken
from libs.schemas.events import EventModel
from libs.store.pool import Tx

M = TypeVar("M", bound=EventModel)
Handler = Callable[[Tx, Received[M]], Awaitable[None]]


class Routes:
    """Handlers by event type. A type without one is passed over; a type that the topic does not declare is not."""

    def __init__(self) -> None:
        """Start empty."""
        self._handlers: dict[str, tuple[type[EventModel], Handler[Any]]] = {}

    def on(self, model: type[M], handler: Handler[M]) -> None:
        """Give every event of `model` to `handler(tx, received)`, whose writes commit together with the offset."""
        if model.TYPE in self._handlers:
            raise Broken(f"two handlers for {model.TYPE}")
        self._handlers[model.TYPE] = (model, handler)

    def find(self, event_type: str) -> tuple[type[EventModel], Handler[Any]] | None:
        """Return the model and handler of `event_type`, None where it is passed over."""
        return self._handlers.get(event_type)
