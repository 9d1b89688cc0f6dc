"""`maestro usage events`: the events behind a total, each with what it counts for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from libs.runtime.errors import Rejected
from libs.runtime.printable import printable
from libs.runtime.settings import ServiceSettings
from libs.schemas.values import EXACT, plain
from services.metering.cli.apis import Apis, Json, add_options, opened
from services.metering.cli.verbs import AddVerb

PAGE: Final = 500
MAX_PAGES: Final = 2_000  # a million events: more are asked of the archive itself, by DuckDB

ABOUT: Final = """\
Lists the events behind the total of a metric over a span between quarter hours: by time, source and id, each with what
it counts for, corrections taken in. What came too late for a closed period is an adjustment of it. At the end the sum
is held against the live total; what lacks is not archived yet.
"""
EXAMPLES: Final = """\
examples:
  maestro usage events ingest_events --tenant tnt_aaaaaaaaaaaaaaaaaaaa --from 2026-11-24T10:00Z --to 2026-11-24T11:00Z
"""


def add_to(add_verb: AddVerb) -> None:
    """Add the verb to those of `maestro usage`."""
    verb = add_verb(
        "events",
        help="list the events behind a total",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("metric", help="which meter's total")
    verb.add_argument("--tenant", help="whose usage (default: the key's own tenant)")
    verb.add_argument("--from", dest="start", required=True, help="where the total begins, such as 2026-11-24T10:00Z")
    verb.add_argument("--to", dest="end", required=True, help="where it ends")
    add_options(verb)
    verb.set_defaults(run=run)


def run(chosen: argparse.Namespace, _told: ServiceSettings) -> int:
    """Run the verb; raise MaestroError."""
    amounts = adjustments = Decimal(0)
    with opened(chosen) as apis:
        for page in _pages(apis, chosen):
            for one in page["items"]:
                amounts = EXACT.add(amounts, Decimal(one["amount"]))
                adjustments = EXACT.add(adjustments, Decimal(one["adjustment"]))
                print(json.dumps(one) if chosen.as_json else _row(one))
    if not chosen.as_json:
        print(printable(_conclusion(page, amounts, adjustments)))
    return 0


def _pages(apis: Apis, chosen: argparse.Namespace) -> Iterator[Json]:
    asked = {"metric": chosen.metric, "tenant": chosen.tenant, "from_": chosen.start, "to": chosen.end, "limit": PAGE}
    cursor = None
    for _ in range(MAX_PAGES):
        page = apis.get(f"{chosen.url}/v1/usage/events", **asked, cursor=cursor)
        yield page
        cursor = page["next_cursor"]
        if cursor is None:
            return
    raise Rejected("there are more events than can be listed here; ask for a shorter span")


def _row(one: Json) -> str:
    notes = [str(one["corrected"])] if one["corrected"] else []
    if one["adjusts"]:
        notes.append(f"{one['adjustment']} adjusts {one['adjusts']}")
    row = f"{one['time']:28} {one['amount']:>16}  {one['source']}  {one['id']}"
    return printable("  ".join([row, *notes]))


def _conclusion(page: Json, amounts: Decimal, adjustments: Decimal) -> str:
    archived_to = page["archived_to"] or "a time that is not known now"
    said = f"the archive holds all that was taken in up to {archived_to}"
    if page["unit"] != "1":
        return f"levels of a gauge, whose total is {page['total']} byte-microseconds; {said}"
    lacking = EXACT.subtract(Decimal(page["total"]), amounts)
    lines = [f"sum {plain(amounts)}, live total {page['total']}" + ("" if lacking else ": they agree")]
    if lacking:
        lines.append(f"{plain(lacking)} is not listed: not archived yet, or counted meanwhile")
    if adjustments or page["adjusted"] != "0":
        lines.append(f"adjustments {plain(adjustments)}, of {page['adjusted']} live")
    return "\n".join([*lines, said])
