"""What identity refuses beyond the shared family, and what to do instead."""

from __future__ import annotations

from libs.runtime.errors import Conflict, Rejected, Unavailable


class UnknownPlan(Rejected):
    """The plan is not one that quota has published."""

    code = "unknown_plan"
    status = 422
    title = "There is no such plan"


class PlansNotHeard(Unavailable):
    """No plan at all is known yet: quota has not published any."""

    code = "plans_not_heard"
    title = "The plans are not known yet"


class UnknownTenants(Rejected):
    """An edge key would act for tenants that there are not; the member `unknown` lists them."""

    code = "unknown_tenants"
    status = 422
    title = "There are no such tenants"


class ScopeNotGrantable(Rejected):
    """The kind of key cannot hold the scope, or whoever grants it does not hold it; the member `scopes` lists them."""

    code = "scope_not_grantable"
    status = 403
    title = "The scope cannot be granted"


class ExpiryNotAhead(Rejected):
    """A key that would have expired before it was made."""

    code = "expiry_not_ahead"
    status = 422
    title = "The expiry lies in the past"


class TooManyKeys(Conflict):
    """The holder has as many live keys as one may have; the member `bound` says how many."""

    code = "too_many_keys"
    title = "There are too many live keys"
