"""What is known against the packages that requirements.lock pins, and which of it is accepted for a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


class BadException(ValueError):
    """An entry of the file of exceptions is not whole."""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One package at one version."""

    name: str
    version: str

    def __str__(self) -> str:
        """Return it as the lock file writes it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Advisory:
    """A known weakness: its id, its other ids (CVE, GHSA), what it is, and the versions that have it no more."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An advisory that is accepted for a package, and the last day of that."""

    package: str
    advisory: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands against one pin. `known` is False where the index says nothing of that version."""

    pin: Pin
    known: bool
    open: tuple[Advisory, ...] = ()
    accepted: tuple[Advisory, ...] = ()


def pins_of(lock: str) -> list[Pin]:
    """Return every package of a lock file, by name."""
    return sorted({Pin(name, version) for name, version in PIN.findall(lock)})


def accepted_of(text: str) -> list[Accepted]:
    """Return the exceptions of a YAML document.

    Raises:
        BadException: one lacks a field, has an empty reason or no date.

    """
    found = yaml.safe_load(text) or []
    try:
        made = [Accepted(one["package"], one["advisory"], one["reason"], one["until"]) for one in found]
    except (KeyError, TypeError) as error:
        raise BadException(f"an exception needs package, advisory, reason and until: {error}") from error
    for one in made:
        if not isinstance(one.until, date) or not str(one.reason).strip():
            raise BadException(f"the exception for {one.package} needs a reason and a date")
    return made


def advisories_in(pin: Pin, document: Mapping[str, Any]) -> list[Advisory] | None:
    """Return what the index's JSON document of a package says against `pin`; None where it is of another version.

    The document is that of `GET /pypi/<name>/json` or `/pypi/<name>/<version>/json`; withdrawn advisories do not count.
    """
    if document.get("info", {}).get("version") != pin.version:
        return None
    return [
        Advisory(
            id=one["id"],
            aliases=tuple(one.get("aliases") or ()),
            summary=one.get("summary") or str(one.get("details") or "").strip().partition("\n")[0],
            fixed_in=tuple(one.get("fixed_in") or ()),
        )
        for one in document.get("vulnerabilities") or ()
        if not one.get("withdrawn")
    ]


def judge(pin: Pin, found: Sequence[Advisory] | None, exceptions: Iterable[Accepted], today: date) -> Verdict:
    """Sort what stands against `pin` into open and accepted; an exception counts up to its last day."""
    if found is None:
        return Verdict(pin, known=False)
    valid = {one.advisory for one in exceptions if one.package == pin.name and today <= one.until}
    accepted = tuple(one for one in found if valid & {one.id, *one.aliases})
    return Verdict(pin, known=True, open=tuple(one for one in found if one not in accepted), accepted=accepted)
