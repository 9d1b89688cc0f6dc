"""The one family of errors, and what each branch asks of whoever meets it.

MaestroError
├── Rejected       the sender must change something: 4xx over HTTP, dead letter on a topic
│   ├── Unauthenticated   401   no key, or none that we know
│   ├── Forbidden         403   known, but without the scope
│   ├── NotFound          404   absent, or another tenant's (the two look alike on purpose)
│   ├── Conflict          409   the state does not allow it now
│   ├── TooLarge          413   over a stated bound
│   └── QuotaExceeded     429   over a limit of the plan; carries when to come back
├── Unavailable    try again: 503 with Retry-After over HTTP, same offset with backoff on a topic
└── Broken         our own invariant does not hold: stop and page; never retried blindly
"""

from __future__ import annotations

from typing import ClassVar


class MaestroError(Exception):
    """An error with a stable `code` (for programs) and a `detail` (for people, says what to do).

    One that `is_denial` counts among the denied requests whatever its status; 401, 403 and 429 always do.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    is_denial: ClassVar[bool] = False

    def __init__(self, detail: str, **members: object) -> None:
        """Take what a person reads, and extra members for the problem document (RFC 9457, section 3.2)."""
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to this answer; none by default."""
        return {}


class Rejected(MaestroError):
    """The request or message is wrong; sending it again unchanged cannot help."""

    code = "rejected"
    status = 400
    title = "The request cannot be accepted as it is"


class Unauthenticated(Rejected):
    """No credentials, or none that we know. Says nothing about which part was wrong."""

    code = "unauthenticated"
    status = 401
    title = "A valid API key is needed"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge of RFC 9110, section 11.6.1."""
        return {"www-authenticate": 'Bearer realm="maestro"'}


class Forbidden(Rejected):
    """The key is known and lacks the scope."""

    code = "forbidden"
    status = 403
    title = "The key does not allow this"


class NotFound(Rejected):
    """Absent, or not the caller's."""

    code = "not_found"
    status = 404
    title = "There is no such thing here"


class Conflict(Rejected):
    """The state of the thing does not allow the request now."""

    code = "conflict"
    status = 409
    title = "The current state does not allow this"


class TooLarge(Rejected):
    """Over a stated bound; the detail names the bound."""

    code = "too_large"
    status = 413
    title = "The request is larger than the bound"


class QuotaExceeded(Rejected):
    """A limit of the tenant's plan is reached."""

    code = "quota_exceeded"
    status = 429
    title = "The limit of the plan is reached"


class Unavailable(MaestroError):
    """Something that we depend on does not answer; the same request may succeed later."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1, **members: object) -> None:
        """Take the detail and after how many whole seconds a retry is sensible."""
        super().__init__(detail, **members)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 10.2.3."""
        return {"retry-after": str(self.retry_after_s)}


class Broken(MaestroError):
    """An invariant of ours does not hold. Whoever meets it stops; going on could lose or double something."""

    code = "broken"
    status = 500
    title = "Maestro stopped to protect its records"
