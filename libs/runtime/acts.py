"""Who changes something, in which request, and why: what every record of a change carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from libs.runtime.errors import Rejected

MAX_REASON_CHARS: Final = 200  # a sentence; what needs more has a ticket to name


class BadReason(Rejected):
    """The reason is too long, holds characters that cannot be shown as they are, or a person gave none."""

    code = "bad_reason"
    title = "The reason is missing or cannot be kept"


@dataclass(frozen=True, slots=True)
class Act:
    """Who acts in which request.

    `actor` is a pseudonym: the public id of a key, a token's holder or a login at the operating system as
    libs/runtime/actors.py names them, or a word for what the installation does by itself (`set-up`, `registration`).
    """

    actor: str
    request_id: str
    reason: str | None = None


def reason_of(header: str | None) -> str | None:
    """Return the reason that the header Maestro-Reason gives, None where it gives none; raise BadReason.

    A header's bytes reach us as Latin-1; a reason in UTF-8 is read as what it is.
    """
    if header is None:
        return None
    try:
        text = header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        text = header
    return checked_reason(text, given_by="Maestro-Reason")


def checked_reason(given: str, *, given_by: str) -> str | None:
    """Return the reason without the spaces around it, None where nothing is left; raise BadReason.

    Control, bidirectional and invisible characters are refused: they could make a record show something else than it
    says.
    """
    text = given.strip()
    if len(text) > MAX_REASON_CHARS:
        raise BadReason(f"{given_by} has at most {MAX_REASON_CHARS} characters")
    if not text.isprintable():
        raise BadReason(f"{given_by} holds control, bidirectional or invisible characters")
    return text or None
