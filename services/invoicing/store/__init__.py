"""The rows of invoicing; all functions work in the caller's transaction.

`plans` and `windows` keep copies of what others own, `closes` and `invoices` what invoicing owns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
