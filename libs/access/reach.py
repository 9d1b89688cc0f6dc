"""Which rows a request reaches: those of one tenant or, in a way that is named and logged, those of several."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager

from libs.access.principal import Principal
from libs.schemas.values import TenantId
from libs.store.opening import Pools, across_tenants
from libs.store.pool import Tx, transaction


def rows_of(
    tenants: Collection[TenantId] | None, pools: Pools, caller: Principal, purpose: str, *, writes: bool = False
) -> AbstractAsyncContextManager[Tx]:
    """Return a transaction for `caller`, not begun yet, that reaches the rows of `tenants` (None: of all).

    They are what the caller may see (`caller.visible`) or a part of it. Of exactly one tenant it is the API role's, and
    the database keeps every other tenant's rows from it. Otherwise it is `across_tenants`, for `purpose`, in words.
    """
    if tenants is not None and len(tenants) == 1:
        return transaction(pools.api, tenant=next(iter(tenants)))
    return across_tenants(pools, actor=caller.key_id, purpose=purpose, writes=writes)
