"""The promises of the last release, checked in: what today's are compared with."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Final

from deploy.contracts.breaks import Break, breaks
from deploy.contracts.documents import ROOT, as_json
from deploy.contracts.promises import promises
from libs.runtime.errors import Conflict

Json = dict[str, Any]

BASELINE: Final = ROOT / "proto" / "baseline.json"


class BreaksPromises(Conflict):
    """A release would break somebody, and no reason for it was given."""

    code = "breaks_promises"
    title = "The contracts would break"


def read_baseline(path: Path = BASELINE) -> Json:
    """Return the last release: `released_on`, the promises, and which breaks were `accepted`, when and why."""
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def standing_breaks(today: date, path: Path = BASELINE) -> list[Break]:
    """Return what the code of this checkout breaks of the last release."""
    return breaks(read_baseline(path), promises(), today)


def release(today: date, *, reason: str = "", path: Path = BASELINE) -> list[Break]:
    """Make today's promises the baseline, and return what they break of the last.

    Raises BreaksPromises where they break something and no `reason` says why that is meant; with one, the reason and
    every break stay on record in the baseline.
    """
    new = promises()
    old = read_baseline(path) if path.exists() else {**new, "accepted": []}
    found = breaks(old, new, today)
    if found and not reason:
        raise BreaksPromises("; ".join(map(str, found)))
    said = [{"on": today.isoformat(), "reason": reason, "breaks": [str(one) for one in found]}] if found else []
    path.write_text(
        as_json({"released_on": today.isoformat(), "accepted": [*old["accepted"], *said], **new}), encoding="utf-8"
    )
    return found
