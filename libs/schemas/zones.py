"""Time zone rules from the pinned tzdata package, never the machine's: a close is stamped with their version."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

TZDATA_VERSION: Final[str] = tzdata.IANA_VERSION
ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")


@cache
def zone(name: str) -> ZoneInfo:
    """Return the IANA zone `name`; raise ValueError where the pinned rules have none of that name."""
    rules = resources.files("tzdata.zoneinfo").joinpath(*name.split("/")) if ZONE_NAME.fullmatch(name) else None
    if rules is None or not rules.is_file():
        raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/Berlin")
    with rules.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
