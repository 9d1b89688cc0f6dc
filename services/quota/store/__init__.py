"""Quota's stores: plans, assignments and gauges in PostgreSQL; buckets in Valkey, which may be lost and rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIGRATIONS: Final = Path(__file__).resolve().parents[1] / "migrations"
