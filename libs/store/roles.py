"""The three login roles of a service's database, and where their passwords lie.

Database `quota` has `quota_owner` (owns the tables, logged in while migrations run), `quota_api` (what HTTP routes do,
one tenant at a time) and `quota_worker` (what consumers and loops do, across tenants). None may do more than it was
granted: docs/decisions/0007-who-reads-which-row.md.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Role(StrEnum):
    """What a connection is for."""

    OWNER = "owner"
    API = "api"
    WORKER = "worker"

    def of(self, database: str) -> str:
        """Return the login role of `database` for this purpose."""
        return f"{database}_{self.value}"


def database_of(url: str) -> str:
    """Return the name of the database that `postgresql://host/name` leads to; empty where it names none."""
    return unquote(urlsplit(url).path.removeprefix("/"))


def password_file(folder: Path, role: str) -> Path:
    """Return where the password of the login role `role` lies in a folder of secrets."""
    return folder / f"{role}.postgres.password"
