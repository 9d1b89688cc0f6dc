"""Corrections are asked for: of one event by somebody who says why, of a list of events by whoever takes them back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.bus.audit import Change, record_change
from libs.runtime.acts import Act, BadReason
from libs.schemas.values import TenantId
from libs.store.pool import Tx
from services.metering.domain.events import Attributes
from services.metering.domain.identity import Fingerprints
from services.metering.errors import CorrectionRaced, NoArchive, UnknownEvent
from services.metering.store import corrections, ids
from services.metering.store.corrections import Asked, Kept

SERVICE: Final = "metering"
MAX_LISTED: Final = 1_000  # events of one call: each is looked for in all runs of its lane


@dataclass(frozen=True, slots=True)
class Listed:
    """Events of one tenant, by source and id, that are voided under one name: `list_id`, the same when repeated."""

    list_id: uuid.UUID
    events: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asking:
    """Takes requests for corrections. Without an archive (`is_archived`) nothing can be corrected."""

    fingerprints: Fingerprints
    is_archived: bool

    async def ask(
        self, tx: Tx, tenant_id: TenantId, event: tuple[str, str], attributes: Attributes | None, act: Act
    ) -> Kept:
        """Keep a request to void an event or, with attributes, to amend it.

        Raises BadReason without a reason, NoArchive, UnknownEvent, or CorrectionRaced.
        """
        _require_reason(act)
        if not self.is_archived:
            raise NoArchive("events are corrected from the archive, and this installation keeps none: MAESTRO_ARCHIVE")
        source, event_id = event
        key = self.fingerprints.key(tenant_id, source, event_id)
        stands = (await ids.standing(tx, [key])).get(key)
        if stands is None:
            raise UnknownEvent("no such event is counted: it is under way, or its id is older than ids are kept")
        asked = Asked(uuid.uuid4(), source, event_id, key, stands, attributes)
        if not await corrections.ask(tx, tenant_id, [asked], act):
            raise CorrectionRaced("another correction of the event came at the same time: look at it, and ask again")
        kept = await corrections.by_id(tx, asked.correction_id)
        assert kept is not None
        said = {"action": kept.action, "source": source, "id": event_id, "number": str(kept.number)}
        subject = f"correction/{kept.correction_id}"
        change = Change("correction.requested", subject, kept.requested_at, tenant_id=tenant_id, details=said)
        await record_change(tx, SERVICE, act, change)
        return kept

    async def void_listed(self, tx: Tx, tenant_id: TenantId, listed: Listed, act: Act) -> list[tuple[str, str]]:
        """Ask for the void of at most MAX_LISTED events of a list; return those that are not counted (yet).

        Asked for again, the same events are asked for once. What is said of it to the record of changes is the
        caller's. Raises BadReason, NoArchive, or CorrectionRaced: then the chunk is to be tried again.
        """
        _require_reason(act)
        if not self.is_archived:
            raise NoArchive("events are corrected from the archive, and this installation keeps none: MAESTRO_ARCHIVE")
        keys = {self.fingerprints.key(tenant_id, *event): event for event in listed.events[:MAX_LISTED]}
        standing = await ids.standing(tx, list(keys))
        asked = [
            Asked(uuid.uuid5(listed.list_id, key.hex()), *keys[key], key, stands) for key, stands in standing.items()
        ]
        await corrections.ask(tx, tenant_id, asked, act, listed.list_id)
        if len(await corrections.kept(tx, [one.correction_id for one in asked])) < len(asked):
            raise CorrectionRaced("other corrections of some of the events came at the same time: ask again")
        return [event for key, event in keys.items() if key not in standing]


def _require_reason(act: Act) -> None:
    if act.reason is None:
        raise BadReason("whoever corrects usage says why: send the header Maestro-Reason")
