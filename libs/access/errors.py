"""What an edge says when a key may not do what it asks (the family is drawn in libs/runtime/errors.py)."""

from __future__ import annotations

from libs.runtime.errors import Rejected


class WrongTenant(Rejected):
    """The key may not name this tenant. The same for a tenant that exists and for one that does not."""

    code = "wrong_tenant"
    status = 403
    title = "The key may not act for this tenant"


class TenantRequired(Rejected):
    """An operator's or an edge's key stands for no tenant of its own, and the request names none."""

    code = "tenant_required"
    title = "The request must name a tenant"
