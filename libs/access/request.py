"""What a route asks of a request: who sent it (`Caller`), why (`Acting`), and which Idempotency-Key it claims."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Header, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from libs.access.door import Door
from libs.access.errors import TooManyAttempts
from libs.access.oidc.keyring import IssuerSilent
from libs.access.principal import Principal
from libs.runtime.actors import holds_token
from libs.runtime.acts import Act, BadReason, reason_of
from libs.runtime.errors import Unauthenticated, Unavailable
from libs.runtime.openapi import with_refusals
from libs.signing.digests import sha256_hex
from libs.store.idempotency import BadIdempotencyKey, IdempotencyKeyReused
from libs.store.once import Answer, Claim

# What stands at every door, and so in the OpenAPI document of every route behind it.
BEARER: Final = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="mst_<env>_<public id>_<secret>, or a JWT of an issuer that the operator trusts",
    description="`Authorization: Bearer <API key or token>`; its scopes say what it may do (`GET /v1/me` of identity)",
    auto_error=False,
)
BEARER.model = BEARER.model.model_copy(
    update=with_refusals(Unauthenticated, TooManyAttempts, Unavailable, IssuerSilent)
)
# What a route answers that takes an Idempotency-Key.
CLAIM_REFUSALS: Final = (BadIdempotencyKey, IdempotencyKeyReused)
# What a route answers that changes something, and so takes a Maestro-Reason.
ACT_REFUSALS: Final = (BadReason,)


async def principal_of(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Principal:
    """Return who sent `request`; raise Unauthenticated, TooManyAttempts or Unavailable.

    Reads `app.state.door`, which the service's wiring puts there. Asynchronous so that FastAPI calls it on the event
    loop, where the door lives, and not on a thread.
    """
    door: Door = request.app.state.door
    return await door.admit(request.headers.get("authorization"), *_way_of(request))


Caller = Annotated[Principal, Depends(principal_of)]


async def address_of(request: Request) -> str:
    """Return the address that failures of this request's sender are counted for."""
    door: Door = request.app.state.door
    return door.address_of(*_way_of(request))


Address = Annotated[str, Depends(address_of)]


def _way_of(request: Request) -> tuple[str | None, list[str]]:
    peer = None if request.client is None else request.client.host
    return peer, request.headers.getlist("x-forwarded-for")


async def claim_of(
    request: Request, caller: Caller, idempotency_key: Annotated[str | None, Header()] = None
) -> Claim | None:
    """Return what the request's Idempotency-Key claims, None without one: the same caller, path, key and body."""
    if idempotency_key is None:
        return None
    route = f"{request.method} {request.url.path}"
    return Claim(caller.key_id, route, idempotency_key, sha256_hex(await request.body()))


Claimed = Annotated[Claim | None, Depends(claim_of)]


async def act_of(request: Request, caller: Caller, maestro_reason: Annotated[str | None, Header()] = None) -> Act:
    """Return who changes something, in which request, and why; raise BadReason.

    The header Maestro-Reason says why. Whoever may be a person has to say it: who comes with a token, and who holds an
    operator's key. A tenant's program may.
    """
    reason = reason_of(maestro_reason)
    if reason is None and (caller.kind == "operator" or holds_token(caller.key_id)):
        raise BadReason("an operator, and whoever comes with a token, says why: send the header Maestro-Reason")
    return Act(caller.key_id, request.state.request_id, reason)


Acting = Annotated[Act, Depends(act_of)]


def json_answer(answer: Answer) -> Response:
    """Return the HTTP response of `answer`; a repeated one says so in `Idempotency-Replayed`."""
    headers = {"idempotency-replayed": "true"} if answer.is_repeat else None
    return Response(answer.body, answer.status, headers, media_type="application/json")
