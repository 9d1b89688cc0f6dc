"""What identity is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from libs.access.keys import KEY_ID
from libs.runtime.errors import Broken
from libs.runtime.settings import ServiceSettings, secret_from
from libs.schemas.values import Digest
from services.identity.domain import OperatorKey


class IdentitySettings(ServiceSettings):
    """Beyond the shared ones: where set-up left the digest of the operator's key."""

    operator_digest_file: Path | None = Field(None, description='JSON {"key_id", "digest"}; none: no operator is added')


class _DigestFile(BaseModel):
    key_id: str = Field(pattern=f"^{KEY_ID.pattern}$")
    digest: Digest


def operator_key_of(settings: IdentitySettings) -> OperatorKey | None:
    """Return the operator's key that set-up wrote, None where it wrote none; raise Broken where the file is not one."""
    text = secret_from(settings.operator_digest_file)
    if text is None:
        return None
    try:
        found = _DigestFile.model_validate_json(text)
    except ValidationError:
        # Not chained: a validation error quotes its input, and a wrong file may hold the key itself.
        raise Broken(
            f'{settings.operator_digest_file} does not hold {{"key_id", "digest"}}; run `maestro up`'
        ) from None
    return OperatorKey(found.key_id, found.digest)
