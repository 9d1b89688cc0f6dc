"""What the settings say of servers of yours, judged before anything is sent to one of them.

An administrator's login provides databases, topics and passwords: where `MAESTRO_PROFILE=clustered` asks for TLS, these
come before any service could refuse to start. And a password in an address stands in the environment of every process
that is told it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

from deploy.local.errors import Missing
from deploy.local.settings import (
    KAFKA_PROTOCOL_SETTING,
    KAFKA_SETTING,
    LOGIN_FILES,
    POSTGRES_SETTING,
    PROFILE_SETTING,
    REDIS_SETTING,
)
from libs.runtime.settings import KafkaProtocol, Profile
from libs.runtime.transport import Objection, plaintext_to_kafka, plaintext_to_postgres
from services.quota.settings import plaintext_to_valkey

READABLE_BY_OTHERS = 0o077


def refuse_unsafe(environ: Mapping[str, str]) -> None:
    """Return where nothing would be sent in the clear that must not be, and no password stands in an address.

    Raises:
        Missing: all that is wrong, and what to set instead.
    """
    objections = [*_unknown_words(environ), *_plaintext(environ), *_shown_passwords(environ), *_login_files(environ)]
    if objections:
        raise Missing("; ".join(one.problem for one in objections), fix="; ".join(one.fix for one in objections))


def _unknown_words(environ: Mapping[str, str]) -> Iterator[Objection]:
    """A misspelt word must not count as the weaker choice."""
    for setting, words in ((PROFILE_SETTING, get_args(Profile)), (KAFKA_PROTOCOL_SETTING, get_args(KafkaProtocol))):
        if environ.get(setting, words[0]) not in words:
            yield Objection(f"{setting} is {environ[setting]!r}", f"set {setting} to {' or '.join(words)}")


def _plaintext(environ: Mapping[str, str]) -> Iterator[Objection]:
    """With `clustered` an embedded server is refused too: its services would not start."""
    if environ.get(PROFILE_SETTING) != "clustered":
        return
    protocol = environ.get(KAFKA_PROTOCOL_SETTING, "") if environ.get(KAFKA_SETTING) else ""
    found = (
        plaintext_to_postgres(environ.get(POSTGRES_SETTING, "")),
        plaintext_to_kafka(protocol),
        plaintext_to_valkey(environ.get(REDIS_SETTING, "")),
    )
    yield from (objection for objection in found if objection)


def _shown_passwords(environ: Mapping[str, str]) -> Iterator[Objection]:
    for setting in (POSTGRES_SETTING, REDIS_SETTING):
        address = urlsplit(environ.get(setting, ""))
        if address.password is not None or "password" in dict(parse_qsl(address.query, keep_blank_values=True)):
            yield Objection(
                f"{setting} holds a password",
                f"write the password to a file of mode 0600, name that in {LOGIN_FILES[setting]}, and leave it out of "
                f"{setting}",
            )


def _login_files(environ: Mapping[str, str]) -> Iterator[Objection]:
    for server, setting in LOGIN_FILES.items():
        if environ.get(server) and environ.get(setting):
            file = Path(environ[setting])
            if not os.access(file, os.R_OK):
                yield Objection(f"{file}, which {setting} names, cannot be read", f"set {setting} to a file of yours")
            elif stat.S_IMODE(file.stat().st_mode) & READABLE_BY_OTHERS:
                yield Objection(f"{file}, which {setting} names, is open to others", f"chmod 600 {file}")
