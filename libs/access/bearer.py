"""The Authorization header (RFC 6750): the one credential in it, an API key or a token."""

from __future__ import annotations

from typing import Final

MAX_CREDENTIAL_CHARS: Final = 8_192  # the longest token that proxies let through in a header; a key has 81
HOW: Final = "send `Authorization: Bearer <API key or token>` with one that is valid here"

_SCHEME: Final = "bearer "


def bearer_of(authorization: str | None) -> str:
    """Return the credential of the header; the empty text where there is none, or none that could be good."""
    if authorization is None or len(authorization) > len(_SCHEME) + MAX_CREDENTIAL_CHARS:
        return ""
    scheme, credential = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
    return credential.strip() if scheme.lower() == _SCHEME and credential.isascii() else ""


def is_token(credential: str) -> bool:
    """Tell whether the credential has the form of a token (header.claims.signature), which no API key has."""
    return credential.count(".") == 2  # noqa: PLR2004 - three parts
