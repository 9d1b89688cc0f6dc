"""Evidence's stores: rows in PostgreSQL say what was signed; files named by their digest hold the content."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
