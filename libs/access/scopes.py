"""The scopes: what a key may be allowed to do, and which of them each kind of key can hold."""

from __future__ import annotations

from typing import Final, Literal, get_args

from libs.schemas.events import KeyKind

Scope = Literal[
    "tenants:write",
    "tenants:read",
    "keys:write",
    "usage:write",
    "usage:read",
    "usage:correct",
    "meters:write",
    "quota:check",
    "quota:write",
    "invoices:read",
    "invoices:close",
    "evidence:read",
]

ALL_SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

# What is done in a tenant's name. An operator, who sees all tenants, speaks for none: nobody but the tenant and the
# edges that list it can bill it. An operator can still make keys that hold these.
ACTING_SCOPES: Final[frozenset[Scope]] = frozenset(("usage:write", "quota:check"))
OPERATOR_SCOPES: Final[tuple[Scope, ...]] = tuple(scope for scope in ALL_SCOPES if scope not in ACTING_SCOPES)

# What a key holds when nothing is asked for.
DEFAULT_SCOPES: Final[dict[KeyKind, tuple[Scope, ...]]] = {
    "operator": OPERATOR_SCOPES,
    "tenant": ("usage:write", "usage:read", "quota:check", "invoices:read", "evidence:read"),
    "edge": ("usage:write", "quota:check"),
}

# The most that a key of the kind can hold. Who corrects usage changes a bill: a key may where an
# operator says so. A tenant may be trusted with its own keys, never with prices or closes.
GRANTABLE_SCOPES: Final[dict[KeyKind, frozenset[Scope]]] = {
    "operator": frozenset(OPERATOR_SCOPES),
    "tenant": frozenset((*DEFAULT_SCOPES["tenant"], "keys:write", "usage:correct")),
    "edge": frozenset((*DEFAULT_SCOPES["edge"], "usage:correct")),
}

# What a tenant's token holds only where the operator's file of issuers maps one of its words to it: a tenant that runs
# its own issuer could otherwise say that it may take usage off its bill.
MAPPED_SCOPES: Final[frozenset[Scope]] = frozenset(("usage:correct",))
