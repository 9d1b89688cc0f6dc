"""One run of Hello-Tenant with something happening on the way: kills, crashes, forged usage."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from samples.hello_tenant import steps
from samples.hello_tenant.habits import HELLO_TENANTS, Habits, scaled
from samples.hello_tenant.ledger import Ledger
from samples.hello_tenant.maestro_http import new_traceparent
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.steps import Cast, Invoice, Scene
from tests.support.whole_stack import WholeStack

STEADY = "steady calls"
Act = Callable[[Scene, Cast], None]


def nothing(_scene: Scene, _cast: Cast) -> None:
    """Let things take their course."""


def steady(share: float) -> tuple[Habits, ...]:
    """The demo's tenants with that share of their calls, and without the storm."""
    return tuple(replace(scaled(one, share), storm_calls=0, storm_batch_events=0) for one in HELLO_TENANTS)


@dataclass(frozen=True, slots=True)
class Play:
    """What happens when: at shares of the steady calls done, before the close is asked for, and right after it."""

    during: Mapping[float, Act]
    before_close: Act = nothing
    after_close: Act = nothing


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of it."""

    cast: Cast
    counted: dict[str, Any]
    sent: dict[str, int]
    invoices: tuple[Invoice, ...]
    ledger: Ledger
    trace_id: str


def perform(stack: WholeStack, habits: tuple[Habits, ...], play: Play) -> Ending:
    """Run the steps of the demo on `stack`, with the acts of `play` in their places."""
    screen = Screen(Console(file=io.StringIO()))
    with steps.scene_of(stack.addresses, screen, habits) as scene:
        cast = steps.create_cast(scene)
        left = dict(sorted(play.during.items()))
        with steps.gateway_of(scene, cast) as gateway:
            counted = steps.run_traffic(scene, cast, gateway, _acting(scene, cast, left))
            sent = gateway.flush()
        assert not left, "the load was over before everything had happened"
        play.before_close(scene, cast)
        traceparent = new_traceparent()
        steps.request_close(scene, cast, traceparent)
        play.after_close(scene, cast)
        invoices = steps.collect_invoices(scene, cast)
        ledger = steps.settle(scene, counted, invoices)
    return Ending(cast, counted, sent, invoices, ledger, traceparent.split("-")[1])


def _acting(scene: Scene, cast: Cast, left: dict[float, Act]) -> Callable[[str, int, int], None]:
    """Watch the load, and do each act that is left once its share of the calls is done. The load goes on meanwhile."""

    def watch(phase: str, done: int, total: int) -> None:
        for share in [share for share in left if phase == STEADY and done >= share * total]:
            left.pop(share)(scene, cast)

    return watch
