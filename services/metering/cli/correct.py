"""`maestro usage void` and `maestro usage amend`: ask for the correction of an event, and wait until it is answered."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libs.bus.operating import act_of_operator, announcement
from libs.runtime.acts import Act
from libs.runtime.settings import ServiceSettings
from libs.schemas.values import TENANT_ID, TenantId, plain, rfc3339
from libs.store.pool import Pool, open_pool, transaction
from libs.store.roles import Role
from services.metering.cli.verbs import AddVerb, metering_settings
from services.metering.domain.attributes import flat
from services.metering.domain.bodies import json_of
from services.metering.domain.events import Attributes
from services.metering.domain.identity import Fingerprints
from services.metering.errors import BadBody, BadQuery
from services.metering.handlers.asking import Asking
from services.metering.settings import MeteringSettings
from services.metering.store import corrections, ids
from services.metering.store.corrections import Kept, Shown

APPLIED, REFUSED, WAITING = 0, 1, 2
WAIT_S: Final = 120.0  # an event is archived within a minute or so
LOOK_EVERY_S: Final = 0.2

ABOUT: Final = """\
The event stays as it came, in the archive and under its id; what it counts changes. Of a closed period the difference
becomes an adjustment. Who asked, why, and what was counted before and after is kept for good, and shown by
GET /v1/corrections and GET /v1/events/<source>/<id>.

Exits with 0 once it is applied, with 1 if it is refused, with 2 if it still waits or could not be asked for.
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    tenant_id: TenantId
    event: tuple[str, str]
    attributes: Attributes | None
    wait_s: float


def add_to(add_verb: AddVerb) -> None:
    """Add the verbs to those of `maestro usage`."""
    void = _add(add_verb, "void", "take what an event counted out of the totals")
    void.set_defaults(run=run, data=None)
    amend = _add(add_verb, "amend", "count an event with other data in place of its own")
    amend.add_argument("--data", required=True, metavar="FILE", help="a JSON object; - for what comes in by the pipe")
    amend.set_defaults(run=run)


def _add(add_verb: AddVerb, name: str, does: str) -> argparse.ArgumentParser:
    verb = add_verb(
        name, help=does, description=f"{does}\n\n{ABOUT}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("source", help="the event's source")
    verb.add_argument("id", help="the event's id")
    verb.add_argument("--tenant", required=True, help="whose event")
    verb.add_argument("--reason", help="why; kept with the correction")
    verb.add_argument("--wait", type=float, default=WAIT_S, metavar="SECONDS", help="for how long (default: 120)")
    verb.add_argument("--json", action="store_true", dest="as_json", help="print JSON for scripts")
    return verb


def run(chosen: argparse.Namespace, told: ServiceSettings) -> int:
    """Run the verb; raise MaestroError."""
    settings, act = metering_settings(told), act_of_operator(told, chosen.reason)
    if TENANT_ID.fullmatch(chosen.tenant) is None:
        raise BadQuery(f"{chosen.tenant!r} is no tenant: tnt_ and twenty characters")
    attributes = None if chosen.data is None else _attributes(chosen.data)
    asked = _Asked(TenantId(chosen.tenant), (chosen.source, chosen.id), attributes, chosen.wait)
    if not chosen.as_json:
        print(announcement(act))
    kept = asyncio.run(_correct(settings, asked, act))
    print(_as_json(kept) if chosen.as_json else _as_text(kept))
    return {"applied": APPLIED, "refused": REFUSED, "requested": WAITING}[kept.state]


def _attributes(named: str) -> Attributes:
    try:
        text = sys.stdin.buffer.read() if named == "-" else Path(named).read_bytes()
    except OSError as error:
        raise BadBody(f"{named} cannot be read: {error.strerror}") from error
    document = json_of(text)
    if not isinstance(document, dict):
        raise BadBody("the data of an event is a JSON object")
    return flat(document)


async def _correct(settings: MeteringSettings, asked: _Asked, act: Act) -> Kept:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings, Role.WORKER, name="metering.operator", max_size=1)
        stack.push_async_callback(pool.close)
        async with transaction(pool) as tx:
            # Whether an archive is kept is told to the service, not to commands: without one the request waits.
            desk = Asking(Fingerprints(await ids.fingerprint_secret(tx)), is_archived=True)
            kept = await desk.ask(tx, asked.tenant_id, asked.event, asked.attributes, act)
        return await _answered(pool, kept, asked.wait_s)


async def _answered(pool: Pool, kept: Kept, within_s: float) -> Kept:
    """Return the correction once it is answered, or as it is when the time is over."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while kept.state == "requested" and loop.time() < until_s:
        await asyncio.sleep(LOOK_EVERY_S)
        async with transaction(pool) as tx:
            kept = await corrections.by_id(tx, kept.correction_id) or kept
    return kept


def _as_text(kept: Kept) -> str:
    lines = [f"correction {kept.correction_id}, number {kept.number} of the event, {kept.action}: {kept.state}"]
    if kept.state == "requested":
        lines.append(f"it waits for {kept.waits_for}")
    elif kept.state == "refused":
        lines.append(f"refused: {kept.detail}")
    else:
        lines += [f"before: {_effects(kept.before)}", f"after:  {_effects(kept.after)}"]
    return "\n".join(lines)


def _effects(shown: Sequence[Shown]) -> str:
    said = [f"{one.metric} {plain(one.amount)}" + (f" ({one.resource})" if one.resource else "") for one in shown]
    return ", ".join(said) or "nothing"


def _as_json(kept: Kept) -> str:
    return json.dumps(
        {
            "correction_id": str(kept.correction_id),
            "tenant": kept.tenant_id,
            "source": kept.source,
            "id": kept.event_id,
            "number": kept.number,
            "action": kept.action,
            "actor": kept.actor,
            "reason": kept.reason,
            "requested_at": rfc3339(kept.requested_at),
            "state": kept.state,
            "waits_for": kept.waits_for,
            "before": [_effect(one) for one in kept.before],
            "after": [_effect(one) for one in kept.after],
            "detail": kept.detail,
        },
        indent=2,
    )


def _effect(one: Shown) -> dict[str, str | None]:
    return {"metric": one.metric, "amount": plain(one.amount), "resource": one.resource}
