"""The steps of the demo, one function each: cast, gateway, traffic, close, ledger. Each shows what it waits for."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from samples.hello_tenant.habits import Habits, load_of
from samples.hello_tenant.ledger import Count, Entry, Ledger, ledger_of
from samples.hello_tenant.load.plan import Plan
from samples.hello_tenant.maestro_http import Maestro, Tenant, until
from samples.hello_tenant.months import month_start, next_month_start
from samples.hello_tenant.processes import Gateway, Progress, run_load, serving
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.stack import Stack

GATEWAY_MODULE: Final = "samples.hello_tenant.gateway"
KNOWN_WITHIN_S: Final = 20.0  # a change of a tenant is everywhere within a second; a service that restarts takes longer
SIGNED_WITHIN_S: Final = 90.0  # seconds when nothing dies on the way
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Scene:
    """What all steps share. `folder` holds everything that this run leaves behind."""

    stack: Stack
    maestro: Maestro
    screen: Screen
    run_id: str
    folder: Path
    habits: tuple[Habits, ...]
    started_at: datetime

    @property
    def period(self) -> str:
        """The month that is closed, such as 2026-11."""
        return f"{self.started_at:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Cast:
    """The tenants of this run and the key of its gateway."""

    tenants: tuple[Tenant, ...]
    gateway_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Invoice:
    """A signed invoice with its four files in `folder`."""

    tenant: Tenant
    invoice_id: str
    number: str
    total: str
    folder: Path

    def base_quantities(self) -> dict[str, int]:
        """Return what invoice.json bills, per metric in base units, summed over its lines."""
        document = json.loads((self.folder / "invoice.json").read_text(encoding="utf-8"))
        sums: dict[str, int] = {}
        for line in document["lines"]:
            sums[line["metric"]] = sums.get(line["metric"], 0) + int(line["base_quantity"])
        return sums


@contextmanager
def scene_of(stack: Stack, screen: Screen, habits: tuple[Habits, ...]) -> Iterator[Scene]:
    """Set the scene of one run: a name that no run had before, and a folder of its own.

    Runs share a stack, and a period of a tenant is closed only once: so each run has tenants of its own.
    """
    run_id = secrets.token_hex(4)
    folder = stack.home / "demo" / run_id
    folder.mkdir(parents=True, mode=0o700)
    with closing(Maestro(stack)) as maestro:
        yield Scene(stack, maestro, screen, run_id, folder, habits, datetime.now(UTC))


def create_cast(scene: Scene) -> Cast:
    """Create the tenants and the gateway's key; return when every service knows them."""
    maestro = scene.maestro
    tenants = tuple(maestro.create_tenant(f"{habits.name} {scene.run_id}", habits.plan_id) for habits in scene.habits)
    for tenant in tenants:
        write_private(scene.folder / "keys" / f"{tenant.tenant_id}.key", tenant.key)
    cast = Cast(tenants, maestro.create_gateway_key(f"demo gateway {scene.run_id}", list(tenants)))
    with scene.screen.wait("metering and quota learn the keys and plans from Kafka"):
        for tenant in tenants:
            known = partial(maestro.is_known, tenant, cast.gateway_key)
            until(f"{tenant.name} at every edge", known, KNOWN_WITHIN_S)
    return cast


@contextmanager
def gateway_of(scene: Scene, cast: Cast) -> Iterator[Gateway]:
    """Serve the demo gateway for this cast until the block is over."""
    key_file = scene.folder / "keys" / "gateway.key"
    write_private(key_file, cast.gateway_key)
    urls = ("--metering-url", scene.stack.metering, "--quota-url", scene.stack.quota)
    arguments = (*urls, "--key-file", str(key_file))
    with serving(GATEWAY_MODULE, arguments, scene.folder / "gateway.log") as gateway:
        yield gateway


def run_traffic(scene: Scene, cast: Cast, gateway: Gateway, watch: Progress | None = None) -> dict[str, Any]:
    """Run the load client against the gateway; return what it counted. `watch` is told the progress too."""
    plan = Plan(
        gateway_url=gateway.url,
        seed=scene.run_id,
        not_before_us=int(month_start(scene.started_at).timestamp()) * MICROSECONDS,
        tenants=tuple(load_of(tenant, habits) for tenant, habits in zip(cast.tenants, scene.habits, strict=True)),
    )
    plan_path, result_path = scene.folder / "load.plan.json", scene.folder / "load.result.json"
    plan.write(plan_path)
    with scene.screen.wait("the load client starts") as wait:

        def progress(phase: str, done: int, total: int) -> None:
            wait.say(phase, done, total)
            if watch is not None:
                watch(phase, done, total)

        counted = run_load(plan_path, result_path, scene.folder / "load.log", progress)
        wait.say(f"{counted['calls']} HTTP calls by {len(cast.tenants)} tenants")
    plan_path.unlink()  # it held the keys
    return counted


def request_close(scene: Scene, cast: Cast, traceparent: str) -> None:
    """Ask for the close of the period for this run's tenants only, before its end."""
    scene.maestro.request_close(scene.period, list(cast.tenants), traceparent)


def collect_invoices(scene: Scene, cast: Cast) -> tuple[Invoice, ...]:
    """Return the invoices once they are signed, their files downloaded."""
    with scene.screen.wait(f"close of {scene.period}, invoices and signatures") as wait:
        invoices = []
        for number, tenant in enumerate(cast.tenants, start=1):
            invoices.append(_signed(scene, tenant))
            wait.say(wait.text, number, len(cast.tenants))
    return tuple(invoices)


def _signed(scene: Scene, tenant: Tenant) -> Invoice:
    ask = partial(scene.maestro.signed_invoice, tenant, scene.period)
    found = until(f"the signed invoice of {tenant.name}", ask, SIGNED_WITHIN_S)
    folder = scene.folder / "invoices" / tenant.tenant_id
    scene.maestro.download(tenant, found["invoice_id"], folder)
    totals = found["totals"]
    return Invoice(tenant, found["invoice_id"], found["number"], f"{totals['total']} {totals['currency']}", folder)


def settle(scene: Scene, counted: dict[str, Any], invoices: Sequence[Invoice]) -> Ledger:
    """Return the ledger: the load client's counts, metering's usage, the invoices' base quantities."""
    asked: dict[Entry, Count] = {
        (one["tenant_id"], one["metric"]): Count(one["offered"], one["admitted"], one["denied"])
        for one in counted["counts"]
    }
    metered: dict[Entry, int] = {}
    invoiced: dict[Entry, int] = {}
    month = (month_start(scene.started_at), next_month_start(scene.started_at))
    for invoice in invoices:
        tenant = invoice.tenant
        usage = scene.maestro.usage(tenant, *month)
        metered |= {(tenant.tenant_id, metric): value for metric, value in usage.items()}
        invoiced |= {(tenant.tenant_id, metric): value for metric, value in invoice.base_quantities().items()}
    return ledger_of(asked, metered, invoiced)


def write_private(path: Path, text: str) -> None:
    """Write a file, in a folder that is made where it is missing, for its owner only."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
