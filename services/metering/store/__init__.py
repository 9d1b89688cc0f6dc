"""All SQL of metering. Statements are set-based: one for a batch, whatever its size; rows are touched in key order."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
