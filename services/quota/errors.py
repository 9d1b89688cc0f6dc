"""What quota answers when the answer is not yes. The family is in `libs/runtime/errors.py`.

Rejected
├── UnknownPlan            422   no plan of that id
├── CostExceedsBurst       422   can never pass, at whatever time: not a 429, which says "later"
├── PlanChangeTooEarly     409   a plan cannot change before the one in force began, or in the past
├── CallerUnauthenticated  401   the edge is known, the key that it was given is not
├── CallerTooManyAttempts 429   the edge's address passed on too many wrong keys
└── LimitReached           429   with when to come back, and the RateLimit fields
Unavailable
├── QuotaUnavailable       503   the limiter's store does not answer: never shown as a 429
└── PlanPending            503   the tenant is too new: its plan is on its way
"""

from __future__ import annotations

from libs.access.errors import TooManyAttempts
from libs.runtime.errors import Conflict, QuotaExceeded, Rejected, Unauthenticated, Unavailable


class UnknownPlan(Rejected):
    """There is no plan of that id."""

    code = "unknown_plan"
    status = 422
    title = "There is no such plan"


class CostExceedsBurst(Rejected):
    """The cost is more than the limit ever admits at once; waiting does not help."""

    code = "cost_exceeds_burst"
    status = 422
    title = "The request costs more than the limit ever allows at once"


class PlanChangeTooEarly(Conflict):
    """The moment asked for is past, or not after the start of the plan in force."""

    code = "plan_change_too_early"
    title = "A plan cannot change in the past"


class CallerUnauthenticated(Unauthenticated):
    """The key that an edge passed on for its caller is not one of a tenant's."""

    code = "caller_unauthenticated"


class CallerTooManyAttempts(TooManyAttempts):
    """The address that asks passed on too many wrong keys lately; one that is new from there is not looked at."""

    code = "caller_too_many_attempts"


class LimitReached(QuotaExceeded):
    """A limit of the plan is reached. `fields` are the HTTP fields that go with the problem document."""

    title = "The limit of the plan is reached"

    def __init__(self, detail: str, fields: dict[str, str], **members: object) -> None:
        """Take what a person reads, the HTTP fields (Retry-After, RateLimit, RateLimit-Policy), and the members."""
        super().__init__(detail, **members)
        self.fields = fields

    @property
    def headers(self) -> dict[str, str]:
        """The fields of this answer."""
        return self.fields


class QuotaUnavailable(Unavailable):
    """The limiter's store did not answer in time; whether the request may pass is not known."""

    code = "quota_unavailable"
    title = "Limits cannot be checked now"


class PlanPending(Unavailable):
    """The tenant's plan has not reached this process yet."""

    code = "plan_pending"
    title = "The tenant's plan is not known here yet"
