"""`maestro usage explain`: what became of an event, from the meters that took it to the line of the invoice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from libs.runtime.printable import printable
from libs.runtime.settings import ServiceSettings
from services.metering.cli.apis import INVOICING_URL, Apis, Json, add_options, opened
from services.metering.cli.verbs import AddVerb

ABOUT: Final = """\
Says of one event which meters took it, for how much and in which window; which copies and conflicts came; how it was
corrected; which close froze its window, and which line of which invoice it is in. Or why it counts nowhere.
"""
EXAMPLES: Final = """\
examples:
  maestro usage explain shop order-7 --tenant tnt_aaaaaaaaaaaaaaaaaaaa

Exits with 0 if the event counts, with 1 if it does not, or is not known.
"""
COUNTS, UNKNOWN = 0, 1


def add_to(add_verb: AddVerb) -> None:
    """Add the verb to those of `maestro usage`."""
    verb = add_verb(
        "explain",
        help="say what became of an event, to the line of the invoice",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("source", help="the event's source")
    verb.add_argument("id", help="the event's id")
    verb.add_argument("--tenant", help="whose event (default: the key's own tenant)")
    verb.add_argument("--invoicing-url", default=INVOICING_URL, help="where invoicing is served (default: %(default)s)")
    add_options(verb)
    verb.set_defaults(run=run)


def run(chosen: argparse.Namespace, _told: ServiceSettings) -> int:
    """Run the verb; raise MaestroError."""
    with opened(chosen) as apis:
        place = f"{quote(chosen.source, safe='')}/{quote(chosen.id, safe='')}"
        event = apis.get(f"{apis.metering}/v1/events/{place}", tenant=chosen.tenant)
        lines = _invoice_lines(apis, chosen.tenant, event)
    said = event | {"invoice_lines": lines}
    print(json.dumps(said, indent=2) if chosen.as_json else printable("\n".join(_as_text(said))))
    return UNKNOWN if event["status"] == "unknown" else COUNTS


def _invoice_lines(apis: Apis, tenant: str | None, event: Json) -> list[Json]:
    """Return the lines that the event's meters have on the invoice of the close that froze its window."""
    closed = event["closed"]
    if closed is None:
        return []
    found = apis.get(f"{apis.invoicing}/v1/invoices", tenant=tenant, period=closed["period"])
    metrics = {one["metric"] for one in event["counted"]}
    return [
        {"invoice": one["number"], "currency": one["totals"]["currency"]} | line
        for one in found["items"]
        if one["close_id"] == closed["close_id"]
        for line in apis.get(f"{apis.invoicing}/v1/invoices/{one['invoice_id']}/files/invoice.json")["lines"]
        if line["metric"] in metrics
    ]


def _as_text(said: Json) -> Iterator[str]:
    yield f"event {said['id']} of {said['source']}: {_status(said)}"
    if said["time"] is not None:
        yield f"  time       {said['time']}, in the window from {said['window_start']}"
    yield from _meters(said)
    if said["duplicate_count"]:
        yield f"  copies     {said['duplicate_count']}, not counted"
    for one in said["conflicts"]:
        yield f"  conflict   {one['count']} of type {one['type']} at {one['time']} under the same id, not counted"
    for one in said["corrections"]:
        yield f"  corrected  {one['action']}, {one['state']}: {one['reason']}"
    for one in said["adjustments"]:
        yield f"  adjusts    {one['metric']} of {one['period']}, which was closed before"
    yield from _bill(said)


def _status(said: Json) -> str:
    if said["set_aside"] is not None:
        return f"set aside, counts nowhere ({said['set_aside']})"
    if said["status"] == "unknown":
        return "unknown: not counted yet, never taken, or longer ago than ids are kept"
    return " and ".join([said["status"], *([said["corrected"]] if said["corrected"] else [])])


def _meters(said: Json) -> Iterator[str]:
    for one in said["counted"]:
        yield f"  meter      {one['metric']} took {one['amount']}"
    for one in said["failures"]:
        yield f"  meter      {one['metric']} could not take it: {one['reason']}, {one['detail']}"
    if said["archive"] == "waiting":
        yield "  meter      not archived yet: ask again in a minute"
    elif said["archive"] == "away":
        yield "  meter      the archive cannot be read now"
    elif said["status"] != "unknown" and not said["counted"] and not said["failures"]:
        yield "  meter      none took it"


def _bill(said: Json) -> Iterator[str]:
    closed = said["closed"]
    if closed is None:
        return
    yield f"  closed     {closed['period']}, by close {closed['close_id']}"
    for one in said["invoice_lines"]:
        yield (
            f"  invoice    {one['invoice']}, line {one['line']}: {one['metric']} {one['quantity']} {one['unit']}, "
            f"{one['amount']} {one['currency']} ({one['explanation']})"
        )
