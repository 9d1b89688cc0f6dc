"""Corrections: what was asked for, what waits, what was answered. Requests and answers are added and never changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import orjson
from asyncpg import Record
from asyncpg.pgproto import pgproto

from libs.runtime.acts import Act
from libs.schemas.values import from_microseconds, plain
from libs.store.pool import Tx
from services.metering.domain.correcting import Action, CorrectedAmount, Correction, Effect, Last, read, written
from services.metering.domain.events import Attributes, window_of_us
from services.metering.store.ids import Standing

Place = tuple[datetime, UUID]
"""When a correction was asked for, and its id: the order of lists."""

_LAST_PLACE: Final = datetime.max.replace(tzinfo=UTC)
_LAST_ID: Final = UUID(int=2**128 - 1)


class Asked(NamedTuple):
    """A correction to be asked for, of the event that stands under `key`; without attributes it is a void."""

    correction_id: UUID
    source: str
    event_id: str
    key: bytes
    stands: Standing
    attributes: Attributes | None = None


class Shown(NamedTuple):
    """An effect as it was kept."""

    metric: str
    amount: Decimal
    resource: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A correction and what became of it. `waits_for` says why it is not answered yet."""

    correction_id: UUID
    tenant_id: str
    source: str
    event_id: str
    time_us: int
    number: int
    action: Action
    attributes: Attributes | None
    actor: str
    reason: str
    requested_at: datetime
    state: Literal["requested", "applied", "refused"]
    waits_for: str | None
    before: Sequence[Shown]
    after: Sequence[Shown]
    detail: str | None
    decided_at: datetime | None


class Answer(NamedTuple):
    """What became of a correction; `refused` says why nothing was changed."""

    correction: Correction
    before: Sequence[Effect]
    after: Sequence[Effect]
    refused: str | None


class Counts(NamedTuple):
    """How many corrections of a list wait, were applied, were refused."""

    waiting: int
    applied: int
    refused: int


async def ask(tx: Tx, tenant_id: str, asked: Sequence[Asked], act: Act, list_id: UUID | None = None) -> set[UUID]:
    """Keep these requests, each under the next number of its event; return those that were added.

    One that is kept already is not, nor one whose number another request took meanwhile.
    """
    rows = await tx.fetch(
        _ASK,
        tenant_id,
        [one.correction_id for one in asked],
        [one.source for one in asked],
        [one.event_id for one in asked],
        [pgproto.UUID(one.key) for one in asked],
        [one.stands.digest for one in asked],
        [one.stands.time_us for one in asked],
        [None if one.attributes is None else written(one.attributes) for one in asked],
        act.actor,
        act.request_id,
        act.reason,
        list_id,
    )
    return {_uuid(row["correction_id"]) for row in rows}


async def kept(tx: Tx, correction_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the requests that are kept."""
    return {_uuid(row["correction_id"]) for row in await tx.fetch(_KEPT, list(correction_ids))}


async def due(tx: Tx, limit: int) -> list[tuple[Correction, datetime]]:
    """Return requests that may be answered now, and when each was made: the first that waits of each event."""
    return [(_correction(row), row["requested_at"]) for row in await tx.fetch(_DUE, limit)]


async def take(tx: Tx, correction_ids: Collection[UUID]) -> set[UUID]:
    """Hold those of these requests that nobody else holds, and that are still the first that wait, until `tx` ends."""
    return {_uuid(row["correction_id"]) for row in await tx.fetch(_TAKE, list(correction_ids))}


async def last_applied(tx: Tx, corrections: Sequence[Correction]) -> dict[bytes, Last]:
    """Return by key what the last applied correction of each of these events says."""
    rows = await tx.fetch(
        _LAST_APPLIED, [pgproto.UUID(one.key) for one in corrections], [one.time_us for one in corrections]
    )
    return {row["key"].bytes: _last(row) for row in rows}


async def applied_within(tx: Tx, tenant_id: str, start_us: int, end_us: int) -> dict[tuple[bytes, int], Last]:
    """Return by key and time what the last applied corrections of the tenant's events of [start, end) say."""
    rows = await tx.fetch(_APPLIED_WITHIN, tenant_id, start_us, end_us)
    return {(row["key"].bytes, row["time_us"]): _last(row) for row in rows}


async def answer(tx: Tx, answers: Sequence[Answer]) -> None:
    """Answer these requests, which are held."""
    if answers:
        await tx.execute(
            _ANSWER,
            [one.correction.correction_id for one in answers],
            [one.correction.tenant_id for one in answers],
            ["applied" if one.refused is None else "refused" for one in answers],
            [_effects_text(one.before) for one in answers],
            [_effects_text(one.after) for one in answers],
            [one.refused for one in answers],
        )


async def put_off(tx: Tx, waits_for: Mapping[UUID, str], pause_s: float) -> None:
    """Have these requests looked at again after a pause, and say what they wait for."""
    if waits_for:
        await tx.execute(_PUT_OFF, list(waits_for), list(waits_for.values()), pause_s)


async def adjust(tx: Tx, amounts: Sequence[CorrectedAmount]) -> None:
    """Keep what corrections change of closed periods."""
    if amounts:
        await tx.execute(
            _ADJUST,
            [one.event.tenant_id for one in amounts],
            [one.metric for one in amounts],
            [from_microseconds(window_of_us(one.event.time_us)) for one in amounts],
            [one.correction.correction_id for one in amounts],
            [one.closed.close_id for one in amounts],
            [one.closed.period for one in amounts],
            [Decimal(one.amount) for one in amounts],
            [one.event.source for one in amounts],
            [one.event.id for one in amounts],
            [one.event.time_us for one in amounts],
            ["void" if one.correction.action == "void" else "amendment" for one in amounts],
        )


async def waiting(tx: Tx) -> tuple[int, float]:
    """Return how many requests are not answered, and for how many seconds the oldest of them waits (0 without one)."""
    row = await tx.fetchrow(_WAITING)
    return (row["count"], row["age_s"]) if row else (0, 0.0)


async def counts(tx: Tx, list_id: UUID) -> Counts:
    """Return how far a list is."""
    row = await tx.fetchrow(_COUNTS, list_id)
    assert row is not None
    return Counts(row["waiting"], row["applied"], row["refused"])


async def of_event(tx: Tx, key: bytes) -> list[Kept]:
    """Return all corrections of an event, by number."""
    return [_kept(row) for row in await tx.fetch(_OF_EVENT, pgproto.UUID(key))]


async def by_id(tx: Tx, correction_id: UUID) -> Kept | None:
    """Return one correction."""
    row = await tx.fetchrow(_BY_ID, correction_id)
    return None if row is None else _kept(row)


async def before_place(
    tx: Tx, tenants: Collection[str] | None, key: bytes | None, place: Place | None, limit: int
) -> list[Kept]:
    """Return corrections of these tenants (None: of all), of one event where a key is given, the newest first."""
    at, correction_id = place or (_LAST_PLACE, _LAST_ID)
    if key is not None:
        rows = await tx.fetch(_LIST_OF_EVENT, at, correction_id, limit, pgproto.UUID(key))
    elif tenants is not None:
        rows = await tx.fetch(_LIST_OF_TENANTS, at, correction_id, limit, list(tenants))
    else:
        rows = await tx.fetch(_LIST, at, correction_id, limit)
    return [_kept(row) for row in rows]


def _uuid(found: pgproto.UUID) -> UUID:
    return UUID(bytes=found.bytes)


def _correction(row: Record) -> Correction:
    return Correction(
        _uuid(row["correction_id"]),
        row["tenant_id"],
        row["key"].bytes,
        row["digest"],
        row["time_us"],
        row["action"],
        None if row["attributes"] is None else read(row["attributes"]),
    )


def _last(row: Record) -> Last:
    return row["action"], None if row["attributes"] is None else read(row["attributes"])


def _effects_text(effects: Sequence[Effect]) -> str:
    fields: list[dict[str, str]] = []
    for one in effects:
        named = {} if one.resource is None else {"resource": one.resource}
        fields.append({"metric": one.metric, "amount": plain(Decimal(one.amount))} | named)
    return orjson.dumps(fields).decode()


def _effects(text: str | None) -> list[Shown]:
    found: list[dict[str, Any]] = [] if text is None else orjson.loads(text)
    return [Shown(one["metric"], Decimal(one["amount"]), one.get("resource")) for one in found]


def _kept(row: Record) -> Kept:
    return Kept(
        correction_id=_uuid(row["correction_id"]),
        tenant_id=row["tenant_id"],
        source=row["source"],
        event_id=row["event_id"],
        time_us=row["time_us"],
        number=row["number"],
        action=row["action"],
        attributes=None if row["attributes"] is None else read(row["attributes"]),
        actor=row["actor"],
        reason=row["reason"],
        requested_at=row["requested_at"],
        state=row["state"] or "requested",
        waits_for=row["waits_for"],
        before=_effects(row["before"]),
        after=_effects(row["after"]),
        detail=row["detail"],
        decided_at=row["decided_at"],
    )


_ASK: Final = """
WITH given AS (
  SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::bigint[], $8::text[])
    AS given (correction_id, source, event_id, key, digest, time_us, attributes)),
added AS (
  INSERT INTO usage_correction (correction_id, tenant_id, source, event_id, number, key, digest, time_us, action,
    attributes, actor, request_id, reason, list_id)
  SELECT correction_id, $1, source, event_id,
    (SELECT coalesce(max(number), 0) + 1 FROM usage_correction AS other WHERE other.key = given.key), key, digest,
    time_us, CASE WHEN attributes IS NULL THEN 'void' ELSE 'amend' END, attributes, $9, $10, $11, $12
  FROM given
  WHERE NOT EXISTS (SELECT FROM usage_correction AS same WHERE same.correction_id = given.correction_id)
  ON CONFLICT DO NOTHING RETURNING correction_id, tenant_id, key, number, time_us)
INSERT INTO usage_correction_waiting (correction_id, tenant_id, key, number, time_us) SELECT * FROM added
RETURNING correction_id
"""
_KEPT: Final = "SELECT correction_id FROM usage_correction WHERE correction_id = ANY($1::uuid[])"
_IS_FIRST: Final = """
NOT EXISTS (
  SELECT FROM usage_correction_waiting AS earlier WHERE earlier.key = mine.key AND earlier.number < mine.number)
"""
_DUE: Final = f"""
SELECT correction_id, mine.tenant_id, mine.key, digest, mine.time_us, action, attributes, requested_at
FROM usage_correction_waiting AS mine JOIN usage_correction USING (correction_id)
WHERE looked_at_next <= now() AND {_IS_FIRST} ORDER BY looked_at_next, mine.tenant_id, mine.time_us LIMIT $1
"""  # noqa: S608 - put together from constants
_TAKE: Final = f"""
SELECT correction_id FROM usage_correction_waiting AS mine
WHERE correction_id = ANY($1::uuid[]) AND {_IS_FIRST} ORDER BY correction_id FOR UPDATE SKIP LOCKED
"""  # noqa: S608
_LAST_APPLIED: Final = """
SELECT DISTINCT ON (mine.key) mine.key, action, attributes
FROM unnest($1::uuid[], $2::bigint[]) AS event (key, time_us)
JOIN usage_correction AS mine ON mine.key = event.key AND mine.time_us = event.time_us
JOIN usage_correction_outcome USING (correction_id)
WHERE state = 'applied' ORDER BY mine.key, number DESC
"""
_APPLIED_WITHIN: Final = """
SELECT DISTINCT ON (key, time_us) key, time_us, action, attributes
FROM usage_correction AS mine JOIN usage_correction_outcome USING (correction_id)
WHERE mine.tenant_id = $1 AND time_us >= $2 AND time_us < $3 AND state = 'applied'
ORDER BY key, time_us, number DESC
"""
_ANSWER: Final = """
WITH answered AS (
  INSERT INTO usage_correction_outcome (correction_id, tenant_id, state, before, after, detail)
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]))
DELETE FROM usage_correction_waiting WHERE correction_id = ANY($1::uuid[])
"""
_PUT_OFF: Final = """
UPDATE usage_correction_waiting AS mine
SET waits_for = told.waits_for, looked_at_next = now() + make_interval(secs => $3)
FROM unnest($1::uuid[], $2::text[]) AS told (correction_id, waits_for) WHERE mine.correction_id = told.correction_id
"""
_ADJUST: Final = """
INSERT INTO usage_adjustment
  (tenant_id, metric, window_start, key, close_id, period, value, unit, source, event_id, time_us, reason)
SELECT tenant_id, metric, window_start, key, close_id, period, value, '1', source, event_id, time_us, reason
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::text[], $6::text[], $7::numeric[], $8::text[],
  $9::text[], $10::bigint[], $11::text[])
  AS corrected (tenant_id, metric, window_start, key, close_id, period, value, source, event_id, time_us, reason)
"""
_WAITING: Final = """
SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::float8 AS age_s
FROM usage_correction_waiting
"""
_COUNTS: Final = """
SELECT count(*) FILTER (WHERE state IS NULL) AS waiting, count(*) FILTER (WHERE state = 'applied') AS applied,
  count(*) FILTER (WHERE state = 'refused') AS refused
FROM usage_correction LEFT JOIN usage_correction_outcome USING (correction_id) WHERE list_id = $1
"""
_SHOWN: Final = """
SELECT correction_id, mine.tenant_id, source, event_id, mine.time_us, mine.number, action, attributes, actor, reason,
  requested_at, state, waits_for, before, after, detail, decided_at
FROM usage_correction AS mine LEFT JOIN usage_correction_outcome USING (correction_id)
LEFT JOIN usage_correction_waiting USING (correction_id)
"""
_OF_EVENT: Final = f"{_SHOWN} WHERE mine.key = $1 ORDER BY mine.number"
_BY_ID: Final = f"{_SHOWN} WHERE correction_id = $1"
_BEFORE: Final = "(requested_at, correction_id) < ($1, $2) ORDER BY requested_at DESC, correction_id DESC LIMIT $3"
_LIST: Final = f"{_SHOWN} WHERE {_BEFORE}"
_LIST_OF_EVENT: Final = f"{_SHOWN} WHERE mine.key = $4 AND {_BEFORE}"
_LIST_OF_TENANTS: Final = f"{_SHOWN} WHERE mine.tenant_id = ANY($4::text[]) AND {_BEFORE}"
