"""Idempotency keys: the first answer to (principal, route, key) is kept, and given again to whoever repeats it.

Source: draft-ietf-httpapi-idempotency-key-header. The claim is a row inserted in the transaction of the effect itself:
of two requests at once one waits for the other's commit, and a request that fails leaves no claim behind. The API role
sees the claims of one principal in a transaction; old claims are removed by the worker role, in `swept`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from libs.runtime.errors import Broken, Rejected, Unavailable
from libs.store.pool import Pool, Tx, transaction

MAX_KEY_CHARS: Final = 255
KEPT_HOURS: Final = 25  # at least the 24 that we promise, whatever the clocks of client and store say
SWEEP_PAUSE_S: Final = 60.0
SWEEP_ROWS: Final = 5_000  # of one transaction; a minute of sweeps without pauses removes more than a day can add

_log = logging.getLogger(__name__)


class BadIdempotencyKey(Rejected):
    """The Idempotency-Key is empty, too long, or not printable ASCII."""

    code = "bad_idempotency_key"
    status = 400
    title = "The Idempotency-Key cannot be used"


class IdempotencyKeyReused(Rejected):
    """The key was used before, with another body."""

    code = "idempotency_key_reused"
    status = 422
    title = "The Idempotency-Key belongs to another request"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer that was given: HTTP status and body bytes."""

    status: int
    body: bytes


async def idempotent(tx: Tx, *, principal: str, route: str, key: str, body_sha256: str) -> StoredAnswer | None:
    """Claim the key, and return None: do the effect in this `tx`, then call `remember` before it commits.

    Returns the stored answer where the effect already happened. Raises IdempotencyKeyReused (422) for another body,
    BadIdempotencyKey (400) for a key that cannot be one. Waits for a rival request with the same key.
    """
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise BadIdempotencyKey(f"Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters")
    await tx.execute(_BE_PRINCIPAL, principal)
    if await tx.fetchval(_CLAIM, principal, route, key, body_sha256) is not None:
        return None
    row = await tx.fetchrow(_READ, principal, route, key)
    if row is None:
        raise Broken("an idempotency key vanished while its row was held")
    if row["body_sha256"] != body_sha256:
        raise IdempotencyKeyReused("this Idempotency-Key was used with another body; use a new key for a new request")
    if row["status"] is None:
        raise Broken(f"the effect of idempotency key {key!r} on {route} was committed without its answer")
    return StoredAnswer(row["status"], row["body"])


async def remember(tx: Tx, answer: StoredAnswer, *, principal: str, route: str, key: str) -> None:
    """Store the answer of the key that `idempotent` claimed in this same transaction."""
    if await tx.fetchval(_REMEMBER, principal, route, key, answer.status, answer.body) is None:
        raise Broken(f"remember() for {route} without idempotent() before it in the same transaction")


async def sweep(pool: Pool) -> int:
    """Remove at most SWEEP_ROWS claims that are older than KEPT_HOURS, and return how many."""
    async with transaction(pool) as tx:
        return int(await tx.fetchval(_SWEEP, KEPT_HOURS, SWEEP_ROWS))


async def swept(pool: Pool) -> None:
    """Remove old claims until cancelled; `pool` is the worker's. Outages are waited out."""
    while True:
        try:
            while await sweep(pool) == SWEEP_ROWS:
                pass
        except Unavailable as error:
            _log.warning("old idempotency keys wait: %s", error)
        await asyncio.sleep(SWEEP_PAUSE_S)


_BE_PRINCIPAL: Final = "SELECT set_config('maestro.principal', $1, true)"
_CLAIM: Final = """
INSERT INTO idempotency_key (principal, route, key, body_sha256) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING true
"""
_READ: Final = "SELECT body_sha256, status, body FROM idempotency_key WHERE principal = $1 AND route = $2 AND key = $3"
_REMEMBER: Final = """
UPDATE idempotency_key SET status = $4, body = $5
WHERE principal = $1 AND route = $2 AND key = $3 AND status IS NULL RETURNING true
"""
_SWEEP: Final = """
WITH old AS (
  DELETE FROM idempotency_key WHERE (principal, route, key) IN (
    SELECT principal, route, key FROM idempotency_key
    WHERE created_at < now() - make_interval(hours => $1) ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING 1)
SELECT count(*) FROM old
"""
