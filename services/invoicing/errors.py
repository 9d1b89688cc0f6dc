"""What invoicing refuses, each with the code that callers see and dead letters carry.

Rejected
├── WrongDigest             400   a window's digest is not that of its value
├── NotFound
│   ├── UnknownTenant       404
│   ├── UnknownClose        404
│   ├── UnknownInvoice      404
│   ├── UnknownFile         404
│   └── NotSignedYet        404   the signature is on its way
└── Conflict
    ├── PeriodNotOver       409   say `early` to close it now
    ├── PeriodNotStarted    409
    ├── PeriodBeforeTenant  409   the period ended before there was the tenant
    ├── ConflictingClose    409   a frozen set that is not the one asked for, or not the one we hold
    ├── CopyDiffers         409   the frozen windows add up to something else than the frozen totals
    ├── MixedCurrencies     409   the plans of one period are priced in two currencies
    ├── PlanVersionChanged  409   a plan version came again with another content
    ├── WrongManifest       409   a signature over something else than the invoice's manifest
    └── ToldOtherwise       409   an invoice that was told of would come out with another number or other bytes
"""

from __future__ import annotations

from libs.runtime.errors import Conflict, NotFound, Rejected


class MixedCurrencies(Conflict):
    """One invoice has one currency."""

    code = "mixed_currencies"
    title = "The plans of the period are priced in different currencies"


class CopyDiffers(Conflict):
    """The windows that we hold do not add up to the totals that were frozen with them."""

    code = "copy_differs"
    title = "The frozen windows do not add up to the frozen totals"


class WrongDigest(Rejected):
    """The digest of a window is not that of its tenant, metric, start and value."""

    code = "wrong_digest"
    title = "The window's digest does not belong to its value"


class PlanVersionChanged(Conflict):
    """A version of a plan never changes; a new price is a new version."""

    code = "plan_version_changed"
    title = "This version of the plan is known with another price"


class UnknownTenant(NotFound):
    """No such tenant has reached invoicing."""

    code = "unknown_tenant"


class UnknownClose(NotFound):
    """No such close, or another tenant's."""

    code = "unknown_close"


class UnknownInvoice(NotFound):
    """No such invoice, or another tenant's."""

    code = "unknown_invoice"


class UnknownFile(NotFound):
    """An invoice has four files, and this is none of them."""

    code = "unknown_file"


class NotSignedYet(NotFound):
    """The invoice is issued and its signature has not arrived."""

    code = "not_signed_yet"
    title = "The manifest is not signed yet"


class PeriodNotOver(Conflict):
    """Usage of the period may still come in the ordinary way."""

    code = "period_not_over"
    title = "The period is not over"


class PeriodNotStarted(Conflict):
    """There is nothing to close, early or not."""

    code = "period_not_started"
    title = "The period has not started"


class PeriodBeforeTenant(Conflict):
    """An invoice takes a number of the series: none is given to a month in which there was no tenant."""

    code = "period_before_tenant"
    title = "The period ended before the tenant existed"


class ConflictingClose(Conflict):
    """What was frozen is not what was asked for, or not what we hold already."""

    code = "conflicting_close"
    title = "The frozen period does not fit the close that was requested"


class ToldOtherwise(Conflict):
    """What others were told of an invoice stands, whatever this store has become since."""

    code = "told_otherwise"
    title = "Others were told of this invoice with another number or other files"


class WrongManifest(Conflict):
    """The signature is over other bytes than the invoice's manifest."""

    code = "wrong_manifest"
    title = "The signature does not belong to the invoice's manifest"
