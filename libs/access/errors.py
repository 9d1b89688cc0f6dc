"""What an edge says when a key may not do what it asks (the family is drawn in libs/runtime/errors.py)."""

from __future__ import annotations

from libs.runtime.errors import Rejected, Unavailable


class WrongTenant(Rejected):
    """The key may not name this tenant. The same for a tenant that exists and for one that does not."""

    code = "wrong_tenant"
    status = 403
    title = "The key may not act for this tenant"


class TenantRequired(Rejected):
    """An operator's or an edge's key stands for no tenant of its own, and the request names none."""

    code = "tenant_required"
    title = "The request must name a tenant"


class TooManyAttempts(Rejected):
    """The address sent too many wrong credentials lately; what it sends now is not looked at."""

    code = "too_many_attempts"
    status = 429
    title = "Too many failed attempts"

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        """Take the detail, and after how many whole seconds there is room again."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 10.2.3."""
        return {"retry-after": str(self.retry_after_s)}


class KeyUnusable(Unavailable):
    """A topic is bound to a key that may not be used (yet, or any more). The operator mends it; what waits is kept."""

    code = "key_unusable"
    title = "The key that a topic is bound to may not be used"
