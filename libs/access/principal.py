"""The principal: who a request comes from, once its key has been checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from libs.access.errors import TenantRequired, WrongTenant
from libs.access.scopes import ACTING_SCOPES, Scope
from libs.runtime.errors import Forbidden, NotFound
from libs.schemas.events import KeyKind
from libs.schemas.values import TenantId


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of one key.

    A `tenant` is one tenant; an `edge` (a gateway) acts for those in `act_for`; an `operator` sees and changes any that
    is known, and speaks for none. `is_known` tells whether a tenant exists now. Nothing in it is secret: it can be
    logged.
    """

    kind: KeyKind
    key_id: str
    scopes: frozenset[str]
    tenant_id: TenantId | None
    act_for: frozenset[TenantId]
    is_known: Callable[[str], bool] = field(repr=False, compare=False)

    @property
    def effective_scopes(self) -> frozenset[str]:
        """The scopes that count: those that act in a tenant's name do not at an operator's key, also an older one."""
        return self.scopes - ACTING_SCOPES if self.kind == "operator" else self.scopes

    def require(self, scope: Scope, *others: Scope) -> None:
        """Raise Forbidden unless the key holds `scope` or one of the `others` that do as well."""
        if self.effective_scopes.isdisjoint((scope, *others)):
            raise Forbidden(f"the key needs the scope {' or '.join((scope, *others))}", scope=scope)

    @property
    def visible(self) -> frozenset[TenantId] | None:
        """The tenants whose things this key may read; None for an operator, who may read all."""
        if self.kind == "operator":
            return None
        return self.act_for if self.tenant_id is None else frozenset((self.tenant_id,))

    def sees(self, tenant_id: str) -> bool:
        """Whether this key may read that tenant's things."""
        return self.visible is None or tenant_id in self.visible

    def tenant(self, named: str | None) -> TenantId:
        """Return the tenant that a request is for, where it names `named` (None: it names nobody).

        Raises:
            WrongTenant: the key may not act for the named one.
            TenantRequired: nobody is named and the key stands for no tenant of its own.
            NotFound: an operator names a tenant that there is not.

        """
        if named is None:
            return self._own_tenant()
        visible = self.visible
        if visible is None and not self.is_known(named):
            raise NotFound(f"there is no tenant {named[:64]!r}")
        if visible is not None and named not in visible:
            raise WrongTenant("the key may not act for the tenant that the request names")
        return TenantId(named)

    def reading(self, tenant_id: str) -> TenantId:
        """Return `tenant_id` where this key may see that tenant's things; raise NotFound otherwise.

        Another tenant's thing and an absent one look alike, so that nobody learns what exists.
        """
        if not self.sees(tenant_id):
            raise NotFound("there is no such thing, or it is not yours")
        return TenantId(tenant_id)

    def _own_tenant(self) -> TenantId:
        if self.tenant_id is None:
            raise TenantRequired(f"a key of kind {self.kind} acts for others: name the tenant")
        return self.tenant_id
