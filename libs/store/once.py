"""A request that creates something, done once: its effect and the answer kept for a repeat commit together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from libs.store.idempotency import StoredAnswer, idempotent, remember
from libs.store.pool import Tx


@dataclass(frozen=True, slots=True)
class Claim:
    """What makes two requests the same one: who sent it, where to (method and path), its Idempotency-Key, its body."""

    principal: str
    route: str
    key: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `kept` is what a repeat gets where that differs: a secret is shown once and never stored."""

    status: int
    body: bytes
    kept: bytes | None = None
    is_repeat: bool = False


async def once(
    opening: AbstractAsyncContextManager[Tx], claim: Claim | None, effect: Callable[[Tx], Awaitable[Answer]]
) -> Answer:
    """Run `effect` in one transaction and return its answer, or the kept one where the claim was honoured before.

    `opening` is that transaction, not begun yet: whose rows it may touch is decided by whoever made it. Without a claim
    (no Idempotency-Key was sent) the effect always happens. Raises what `idempotent` and `transaction` raise, and
    whatever the effect raises; a failed effect leaves no claim behind.
    """
    async with opening as tx:
        if claim is None:
            return await effect(tx)
        earlier = await idempotent(
            tx, principal=claim.principal, route=claim.route, key=claim.key, body_sha256=claim.body_sha256
        )
        if earlier is not None:
            return Answer(earlier.status, earlier.body, is_repeat=True)
        answer = await effect(tx)
        kept = StoredAnswer(answer.status, answer.body if answer.kept is None else answer.kept)
        await remember(tx, kept, principal=claim.principal, route=claim.route, key=claim.key)
        return answer
