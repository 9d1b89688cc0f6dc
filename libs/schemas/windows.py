"""The digest of a window: what metering freezes and invoicing must hold before it rates."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal

from libs.schemas.values import TenantId, microseconds, plain


def window_digest(tenant_id: TenantId, metric: str, window_start: datetime, value: Decimal) -> str:
    """Return the first 128 bits, as hex, of SHA-256 over the four parts joined by line ends."""
    text = "\n".join((tenant_id, metric, str(microseconds(window_start)), plain(value)))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
