"""Hello-Tenant, steps 2 to 6: from three tenants' calls to signed invoices and a ledger that balances to the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from samples.hello_tenant import proof, report, steps
from samples.hello_tenant.ledger import Ledger
from samples.hello_tenant.maestro_http import new_traceparent
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.steps import Cast, Invoice, Scene

LOSSES: Final = (
    "spans_failed",
    "spans_dropped",
    "spans_rejected",
    "events_rejected",
    "events_dropped",
    "events_pending",
)


@dataclass(slots=True)
class Checks:
    """What has to hold. The demo succeeds only where all of it did."""

    screen: Screen
    broken: list[str] = field(default_factory=list)

    def hold(self, is_true: bool, text: str) -> None:
        """Say whether it holds, and remember where it does not."""
        self.screen.check(is_true, text)
        if not is_true:
            self.broken.append(text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind."""

    cast: Cast
    counted: dict[str, Any]
    sent: dict[str, int]
    invoices: tuple[Invoice, ...]
    ledger: Ledger
    trace_id: str
    broken: tuple[str, ...]


def run_demo(scene: Scene, typed_at: float) -> Outcome:
    """Run steps 2 to 6 on a stack that is up. `typed_at` is the Unix time that the first event is counted from."""
    checks = Checks(scene.screen)
    cast = _cast(scene)
    counted, sent = _traffic(scene, cast)
    _check_traffic(checks, counted, sent, typed_at)
    report.show_refusals(checks.hold, scene.screen, counted["refusals"])
    traceparent = new_traceparent()
    invoices = _close(scene, cast, traceparent)
    proof.prove(checks.hold, scene, invoices)
    ledger = _settle(scene, checks, counted, invoices)
    return Outcome(cast, counted, sent, invoices, ledger, traceparent.split("-")[1], tuple(checks.broken))


def _cast(scene: Scene) -> Cast:
    scene.screen.headline("2. Three tenants, each with an API key; one key for the demo gateway")
    cast = steps.create_cast(scene)
    rows = [(tenant.name, tenant.plan_id, tenant.tenant_id) for tenant in cast.tenants]
    scene.screen.table("", ("tenant", "plan", "id"), rows)
    return cast


def _traffic(scene: Scene, cast: Cast) -> tuple[dict[str, Any], dict[str, int]]:
    scene.screen.headline("3. A FastAPI application with stock OpenTelemetry and our middleware, called over HTTP")
    with steps.gateway_of(scene, cast) as gateway:
        scene.screen.line(f"the demo gateway serves {gateway.url} (its log: {gateway.log})")
        counted = steps.run_traffic(scene, cast, gateway)
        with scene.screen.wait("the gateway sends on what it still holds"):
            sent = gateway.flush()
    return counted, sent


def _check_traffic(checks: Checks, counted: dict[str, Any], sent: dict[str, int], typed_at: float) -> None:
    first_s = counted["first_accepted_at"] - typed_at
    checks.screen.line(f"first event accepted {first_s:.1f} s after the command was typed")
    checks.hold(counted["failed"] == 0, f"every call was admitted or denied; {counted['failed']} had neither answer")
    for failure in counted["failures"]:
        checks.screen.line(failure)
    lost = {name: sent[name] for name in LOSSES}
    what = ", ".join(f"{name} {count}" for name, count in lost.items())
    checks.hold(
        not any(lost.values()),
        f"{sent['spans_exported']} spans, {sent['events_accepted']} usage events sent on; {what}",
    )


def _close(scene: Scene, cast: Cast, traceparent: str) -> tuple[Invoice, ...]:
    scene.screen.headline(f"5. The period {scene.period} is closed for these tenants; invoices, signatures, proof")
    steps.request_close(scene, cast, traceparent)
    invoices = steps.collect_invoices(scene, cast)
    rows = [(one.tenant.name, one.number, one.total, one.folder) for one in invoices]
    scene.screen.table("", ("tenant", "invoice", ">total", "files"), rows)
    return invoices


def _settle(scene: Scene, checks: Checks, counted: dict[str, Any], invoices: Sequence[Invoice]) -> Ledger:
    scene.screen.headline("6. The ledger: offered = admitted + denied, admitted = metered = invoiced")
    ledger = steps.settle(scene, counted, invoices)
    report.show_ledger(
        scene.screen,
        ledger,
        {one.tenant.tenant_id: habits.name for one, habits in zip(invoices, scene.habits, strict=True)},
    )
    for difference in ledger.differences:
        scene.screen.line(str(difference), style="bold red")
    checks.hold(ledger.balances, f"the ledger balances to the unit in {len(ledger.rows)} rows")
    return ledger
