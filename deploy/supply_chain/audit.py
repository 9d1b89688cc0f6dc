"""`python -m deploy.supply_chain.audit`: ask the package index what is known against each pinned package.

Exit status: 0 nothing is open, 1 something is (or is not known), 2 the index cannot be asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from deploy.local.screens import shown
from deploy.supply_chain.advisories import Accepted, Advisory, Pin, Verdict, accepted_of, advisories_in, judge, pins_of
from libs.runtime.errors import MaestroError
from libs.runtime.outbound import Outbound, OutboundRules
from libs.runtime.settings import ServiceSettings

CHECKOUT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = CHECKOUT / "requirements.lock"
EXCEPTIONS: Final = Path(__file__).with_name("exceptions.yaml")
INDEX: Final = "https://pypi.org"
AT_ONCE: Final = 4
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024  # the document of a package with a thousand releases
NOT_FOUND: Final = 404
ANSWER_WITHIN_S: Final = 60.0
CLEAN, OPEN, NO_ANSWER = 0, 1, 2


async def audit(pins: Sequence[Pin], exceptions: Sequence[Accepted], index: str, outbound: Outbound) -> list[Verdict]:
    """Ask `index` about every pin and judge the answers; raises as Outbound does."""
    gate, today = asyncio.Semaphore(AT_ONCE), datetime.now(UTC).date()

    async def one(pin: Pin) -> Verdict:
        async with gate:
            return judge(pin, await _ask(pin, index, outbound), exceptions, today)

    return await asyncio.gather(*(one(pin) for pin in pins))


async def _ask(pin: Pin, index: str, outbound: Outbound) -> list[Advisory] | None:
    """Ask for the version itself; where the index has only documents of packages, for that of the newest version."""
    for path in (f"{pin.name}/{pin.version}", pin.name):
        answer = await outbound.get(f"{index}/pypi/{path}/json")
        if answer.status != NOT_FOUND:
            document: dict[str, Any] = json.loads(answer.body)
            return advisories_in(pin, document)
    return None


def _show(console: Console, verdicts: Sequence[Verdict]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("package", "advisory", "state", "fixed in", "what"):
        table.add_column(title, overflow="fold")
    for verdict in verdicts:
        for one in (*verdict.open, *verdict.accepted):
            state = "open" if one in verdict.open else "accepted"
            table.add_row(
                str(verdict.pin),
                shown(one.id),
                state,
                shown(", ".join(one.fixed_in)) or "-",
                shown(one.summary or "no summary"),
            )
        if not verdict.known:
            table.add_row(str(verdict.pin), "-", "not known", "-", "the index says nothing of this version")
    if table.row_count:
        console.print(table)
    still_open = sum(len(verdict.open) for verdict in verdicts)
    unknown = sum(not verdict.known for verdict in verdicts)
    console.print(f"{len(verdicts)} packages asked about: {still_open} advisories open, {unknown} not known")


def _document(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {
            "package": verdict.pin.name,
            "version": verdict.pin.version,
            "known": verdict.known,
            "open": [one.id for one in verdict.open],
            "accepted": [one.id for one in verdict.accepted],
        }
        for verdict in verdicts
    ]


async def _run(index: str) -> list[Verdict]:
    settings = ServiceSettings()
    rules = OutboundRules(
        settings.outbound_allowed,
        frozenset(settings.outbound_plain_hosts),
        connect_s=ANSWER_WITHIN_S,
        read_s=ANSWER_WITHIN_S,
        total_s=ANSWER_WITHIN_S,
        max_bytes=ANSWER_BYTES_MAX,
    )
    outbound = Outbound(rules)
    try:
        return await audit(pins_of(LOCK.read_text()), accepted_of(EXCEPTIONS.read_text()), index, outbound)
    finally:
        await outbound.aclose()


def main(
    index: Annotated[str, typer.Option(help="The package index to ask.")] = INDEX,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Ask the index what is known against each package of requirements.lock. Exceptions have a last day."""
    logging.disable(logging.WARNING)  # the refusal itself is shown, once
    try:
        verdicts = asyncio.run(_run(index))
    except MaestroError as error:
        sys.stderr.write(
            f"{error}\ntry: --index https://YOUR-INDEX, or MAESTRO_OUTBOUND_ALLOWED=NETWORK/BITS for one of yours\n"
        )
        raise typer.Exit(NO_ANSWER) from error
    if as_json:
        sys.stdout.write(json.dumps(_document(verdicts), indent=1) + "\n")
    else:
        _show(Console(), verdicts)
    raise typer.Exit(OPEN if any(one.open or not one.known for one in verdicts) else CLEAN)


if __name__ == "__main__":
    typer.run(main)
