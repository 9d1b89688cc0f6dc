"""`maestro usage recompute`: build totals again from the archive of raw events, and hold them against the live ones."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from libs.bus.kafka import KafkaBus, access_of
from libs.runtime.clock import SystemClock
from libs.runtime.settings import ServiceSettings
from libs.schemas.values import EXACT, TENANT_ID, from_microseconds, microseconds, plain, rfc3339
from libs.store.pool import open_pool, transaction
from libs.store.roles import Role
from services.metering.cli.verbs import AddVerb, metering_settings
from services.metering.domain.comparing import Compared, Verdict
from services.metering.domain.events import GRAIN_US
from services.metering.domain.gauges import Span
from services.metering.errors import BadQuery
from services.metering.handlers.recomputing import Asked, Recomputation, Recomputed, aligned
from services.metering.settings import MeteringSettings
from services.metering.store.archive.folder import ArchiveFolder
from services.metering.store.meters import read

AGREED, DIFFERED, UNDECIDED = 0, 1, 2
MAX_DAYS: Final = 400  # of one question: a year and a month; its windows and samples are held in memory

ABOUT: Final = """\
Every event that an edge accepted lies in the archive, once for each time it came. This reads the tenant's rows, leaves
out copies and conflicts as shard owners do (the first of an id stands), asks the meters in force, and compares each
quarter of an hour with the live total, adjustments included. It writes nothing.

Usage that was counted in the last minute may not be archived yet; its windows are shown and not compared.
"""
EXAMPLES: Final = """\
examples:
  maestro usage recompute --tenant tnt_aaaaaaaaaaaaaaaaaaaa
  maestro usage recompute --tenant tnt_aaaaaaaaaaaaaaaaaaaa --metric gql_calls --from 2026-11-01 --to 2026-12-01
  maestro usage recompute --tenant tnt_aaaaaaaaaaaaaaaaaaaa --from 2026-11-24T10:00Z --json

Exits with 0 if all that both cover agrees, with 1 if a window differs, with 2 if nothing could be decided.
"""


def add_to(add_verb: AddVerb) -> None:
    """Add the verb to those of `maestro usage`."""
    verb = add_verb(
        "recompute",
        help="build totals again from the archive and compare them with the live ones",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--tenant", required=True, help="whose usage")
    verb.add_argument("--metric", action="append", help="which meter's; may be repeated (default: all in force)")
    verb.add_argument(
        "--from", dest="start", type=_moment, help="first window, such as 2026-11-24 or 2026-11-24T10:00Z"
    )
    verb.add_argument(
        "--to", dest="end", type=_moment, help="where to end (default: now; --from: the month's first day)"
    )
    verb.add_argument(
        "--archive", type=Path, metavar="FOLDER", help="where the archive lies (default: as metering is told)"
    )
    verb.add_argument("--json", action="store_true", dest="as_json", help="print JSON for scripts")
    verb.set_defaults(run=run)


def run(chosen: argparse.Namespace, told: ServiceSettings) -> int:
    """Run the verb; raise MaestroError."""
    settings = metering_settings(told)
    asked = _asked(chosen)
    found = asyncio.run(_recompute(settings, chosen.archive or settings.archive_folder, asked))
    print(_as_json(asked, found) if chosen.as_json else _as_text(asked, found))
    return _status(found)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _asked(chosen: argparse.Namespace) -> Asked:
    now = SystemClock().now()
    end = chosen.end or now
    start = chosen.start or end.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if TENANT_ID.fullmatch(chosen.tenant) is None:
        raise BadQuery(f"{chosen.tenant!r} is no tenant: tnt_ and twenty characters")
    if not start < end or (end - start).days > MAX_DAYS:
        raise BadQuery(f"ask for a span that begins before its end and has at most {MAX_DAYS} days")
    metrics = chosen.metric or ()
    within = Span(microseconds(start), microseconds(end))
    return aligned(Asked(chosen.tenant, tuple(dict.fromkeys(metrics)), within), GRAIN_US)


async def _recompute(settings: MeteringSettings, folder: Path, asked: Asked) -> Recomputed:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, Role.WORKER, name="metering.operator", max_size=1)
        stack.push_async_callback(pool.close)
        bus = KafkaBus(access_of(settings), client_id="maestro.operator")
        await bus.start()
        stack.push_async_callback(bus.stop)
        async with transaction(pool) as tx:
            meters = await read(tx)
        wanted = asked if asked.metrics else replace(asked, metrics=tuple(meters.by_metric))
        return await Recomputation(bus, pool, ArchiveFolder(folder), meters, SystemClock()).run(wanted)


def _status(found: Recomputed) -> int:
    verdicts = {one.verdict for one in found.windows}
    if Verdict.DIFFERS in verdicts:
        return DIFFERED
    return AGREED if Verdict.AGREES in verdicts or not verdicts else UNDECIDED


def _as_text(asked: Asked, found: Recomputed) -> str:
    start, end = (rfc3339(from_microseconds(one)) for one in (asked.within.start_us, asked.within.end_us))
    rows = [("metric", "window", "archive", "live", ""), *map(_row, found.windows)]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    table = [
        f"  {metric:{widths[0]}}  {window:{widths[1]}}  {mine:>{widths[2]}}  {live:>{widths[3]}}  {verdict}".rstrip()
        for metric, window, mine, live, verdict in rows
    ]
    return "\n".join([f"tenant {asked.tenant_id}, from {start} to {end}", "", *table, "", *_conclusion(found)])


def _row(one: Compared) -> tuple[str, str, str, str, str]:
    archived = "?" if one.archived is None else plain(one.archived)
    said = one.verdict.value.upper() if one.verdict is Verdict.DIFFERS else one.verdict.value
    return one.metric, rfc3339(from_microseconds(one.window_us)), archived, plain(one.live), said


def _conclusion(found: Recomputed) -> Iterator[str]:
    for metric, (archived, live) in _totals(found).items():
        yield f"{metric}: {plain(archived)} from the archive, {plain(live)} live, of what both cover"
    yield f"{found.events} events of {found.files} files; left out: {found.copies} copies, {found.conflicts} conflicts"
    yield f"the archive holds all that Kafka got up to {_archived_to(found) or 'a time that is not known now'}"
    counts = Counter(one.verdict for one in found.windows)
    for verdict in (Verdict.NOT_ARCHIVED_YET, Verdict.NOT_INTEGRATED_YET, Verdict.BEFORE_THE_ARCHIVE):
        if counts[verdict]:
            yield f"{counts[verdict]} windows are not compared: {verdict.value}"
    if counts[Verdict.DIFFERS]:
        yield f"THE TOTALS DIFFER in {counts[Verdict.DIFFERS]} windows; {counts[Verdict.AGREES]} agree"
    elif counts[Verdict.AGREES]:
        yield f"the totals agree in all {counts[Verdict.AGREES]} windows that both cover"
    else:
        yield "there is nothing to compare" if counts else "there is no usage, in the archive or live"


def _totals(found: Recomputed) -> dict[str, tuple[Decimal, Decimal]]:
    totals: dict[str, tuple[Decimal, Decimal]] = {}
    for one in found.windows:
        if one.verdict in {Verdict.AGREES, Verdict.DIFFERS} and one.archived is not None:
            archived, live = totals.get(one.metric, (Decimal(0), Decimal(0)))
            totals[one.metric] = EXACT.add(archived, one.archived), EXACT.add(live, one.live)
    return totals


def _archived_to(found: Recomputed) -> str | None:
    return None if found.archived_to is None else rfc3339(found.archived_to)


def _as_json(asked: Asked, found: Recomputed) -> str:
    return json.dumps(
        {
            "tenant": asked.tenant_id,
            "from": rfc3339(from_microseconds(asked.within.start_us)),
            "to": rfc3339(from_microseconds(asked.within.end_us)),
            "agrees": {AGREED: True, DIFFERED: False, UNDECIDED: None}[_status(found)],
            "totals": {
                metric: {"archive": plain(archived), "live": plain(live)}
                for metric, (archived, live) in _totals(found).items()
            },
            "windows": [
                {
                    "metric": one.metric,
                    "start": rfc3339(from_microseconds(one.window_us)),
                    "archive": None if one.archived is None else plain(one.archived),
                    "live": plain(one.live),
                    "verdict": one.verdict.name.lower(),
                }
                for one in found.windows
            ],
            "events": found.events,
            "files": found.files,
            "copies": found.copies,
            "conflicts": found.conflicts,
            "archived_to": _archived_to(found),
            "partitions": [
                {
                    "topic_id": str(one.topic_id),
                    "partition": one.partition,
                    "counted_to": one.counted_to,
                    "archived_to": one.archived_to,
                }
                for one in found.covered
            ],
        },
        indent=2,
    )
