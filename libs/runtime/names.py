"""The one constant that every URI of ours starts with, and what is built on it."""

from __future__ import annotations

from typing import Final

URI_BASE: Final = "https://maestro.example/"
PROBLEM_BASE: Final = URI_BASE + "problems/"


def service_source(service: str) -> str:
    """Return the CloudEvents `source` of a service of ours."""
    return URI_BASE + service
