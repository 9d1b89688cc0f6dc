"""Whose tokens are taken: the operator's file of issuers, named by MAESTRO_ISSUERS_FILE (YAML or JSON)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from libs.access.scopes import Scope
from libs.runtime.errors import Broken
from libs.schemas.values import AnyTenantId

Algorithm = Literal["ES256", "RS256", "EdDSA"]
"""What may sign: asymmetric only, so that a key that verifies can never make a token (RFC 8725, section 3.2)."""

TokenKind = Literal["operator", "tenant"]
"""What a token's holder can be. A gateway has an API key: what it may act for is listed at identity."""

MAX_LEEWAY_S: Final = 120  # clocks that differ more are broken; more would keep expired tokens alive
MAX_ISSUERS: Final = 100
_MAX_FILE_BYTES: Final = 262_144

Claim = Annotated[str, Field(min_length=1, max_length=200)]


class Issuer(BaseModel):
    """One issuer, and what its tokens mean here.

    A customer's own provider is pinned to its `tenant_id`, so that it can speak for no other; one that serves many says
    the tenant in `tenant_claim`, optionally only those of `tenants`. `kind_claim` says what the holder is, by `kinds`;
    without it all are of `kind`. `scopes_claim` is a text of words or a list of them; `scopes_of` turns an issuer's own
    words (roles, groups) into scopes, and without it they are scopes themselves. Words that mean nothing grant nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, max_length=500, description="exactly as in `iss`")
    audience: str = Field(min_length=1, max_length=500, description="what `aud` must name")
    algorithms: tuple[Algorithm, ...] = Field(min_length=1)
    jwks_url: str | None = None
    jwks_file: Path | None = Field(None, description="a static key set, where nothing can be fetched")
    leeway_s: int = Field(30, ge=0, le=MAX_LEEWAY_S)
    kind: TokenKind = "tenant"
    kind_claim: Claim | None = None
    kinds: dict[str, TokenKind] = {}
    tenant_id: AnyTenantId | None = None
    tenant_claim: Claim | None = None
    tenants: frozenset[AnyTenantId] | None = None
    scopes_claim: Claim = "scope"
    scopes_of: dict[str, tuple[Scope, ...]] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("an issuer has either `jwks_url` or `jwks_file`")
        if (self.kind_claim is None) != (not self.kinds):
            raise ValueError("`kind_claim` and `kinds` belong together")
        can_be_tenant = "tenant" in (self.kinds.values() if self.kinds else (self.kind,))
        if can_be_tenant and (self.tenant_id is None) == (self.tenant_claim is None):
            raise ValueError("an issuer of tenants' tokens has either `tenant_id` or `tenant_claim`")
        return self


class _IssuersFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    issuers: tuple[Issuer, ...] = Field(max_length=MAX_ISSUERS)


def read_issuers(path: Path | None) -> dict[str, Issuer]:
    """Return the issuers of the file by their names, none without a file; raise Broken where it is not one."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:  # cut, it could still be YAML: with fewer issuers, or fewer limits on one
            raise Broken(f"the file of issuers {path} has more than {_MAX_FILE_BYTES} bytes")
        found = _IssuersFile.model_validate(yaml.safe_load(text))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise Broken(f"the file of issuers {path} cannot be used: {error}") from error
    issuers = {one.issuer: one for one in found.issuers}
    if len(issuers) < len(found.issuers):
        raise Broken(f"the file of issuers {path} names an issuer twice")
    return issuers
