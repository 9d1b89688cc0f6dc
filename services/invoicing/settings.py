"""What invoicing is told by its environment, beyond what every service is told."""

from __future__ import annotations

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class InvoicingSettings(ServiceSettings):
    """Who bills. A change of `issuer_id` starts another series of numbers."""

    issuer_id: str = Field("maestro", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="the legal entity that bills")
    issuer_name: str = Field("Maestro (demonstration)", min_length=1, max_length=200)
    number_prefix: str = Field("MST", pattern=r"^[A-Z][A-Z0-9]{0,7}$", description="starts every invoice number")
