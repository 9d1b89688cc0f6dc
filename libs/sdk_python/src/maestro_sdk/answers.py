"""What POST /v1/check answers, as values: the HTTP part of the quota service's contract, and nothing else of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from maestro_sdk.errors import CallerRejected, QuotaUnavailable

HANDED_ON: Final = ("content-type", "retry-after", "ratelimit", "ratelimit-policy", "www-authenticate")

OK: Final = 200
TOO_MANY: Final = 429

# Answers about the caller, by status and code. Any other 4xx is about this edge: its key, its scopes, its request.
ABOUT_THE_CALLER: Final = frozenset(
    {
        (401, "caller_unauthenticated"),
        (403, "wrong_tenant"),
        (422, "cost_exceeds_burst"),
        (429, "caller_too_many_attempts"),
    }
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may pass. `fields` (RateLimit, RateLimit-Policy) belong into its response."""

    tenant: str
    limit: str
    remaining: int
    reset_s: int | None
    plan_id: str
    plan_version: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """The limit is reached: answer 429 with `body` (application/problem+json) and `fields`, as they are."""

    tenant: str
    limit: str
    retry_after_s: int
    body: bytes
    fields: Mapping[str, str]


def answer_of(status: int, headers: Mapping[str, str], body: bytes) -> Admitted | Refused:
    """Return what the answer says. `headers` must find names in lower case.

    Raises:
        CallerRejected: it is about the caller.
        QuotaUnavailable: it says nothing about the request; also where it does not have the shape of an answer.

    """
    fields = {name: headers[name] for name in HANDED_ON if name in headers}
    document = _object(body)
    code = str(document.get("error", ""))
    if (status, code) in ABOUT_THE_CALLER:
        raise CallerRejected(status, code, body, fields)
    try:
        if status == OK:
            return _admitted(document, fields)
        if status == TOO_MANY:
            return Refused(document["tenant"], document["limit"], int(document["retryAfter"]), body, fields)
    except (KeyError, TypeError, ValueError) as error:
        raise QuotaUnavailable(f"the answer {status} has not the shape of one: {error!r}") from error
    raise QuotaUnavailable(f"the quota service answered {status} {code}: {document.get('detail', '')}".rstrip(": "))


def _admitted(document: Mapping[str, Any], fields: dict[str, str]) -> Admitted:
    fields.pop("content-type", None)
    return Admitted(
        tenant=document["tenant"],
        limit=document["limit"],
        remaining=int(document["remaining"]),
        reset_s=None if document["reset_s"] is None else int(document["reset_s"]),
        plan_id=document["plan"]["id"],
        plan_version=int(document["plan"]["version"]),
        fields=fields,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
