"""The HTTP interface: read what was signed, fetch the key, have a signature judged."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from libs.access.principal import Principal
from libs.access.request import Caller
from libs.runtime.errors import Broken, Forbidden, NotFound, TooLarge, Unavailable
from libs.runtime.json_bodies import StrictRouter
from libs.runtime.openapi import Malformed, refusals
from libs.runtime.paging import DEFAULT_LIMIT, MAX_LIMIT, MalformedCursor, Page, moment, page_of, place_of
from libs.schemas.values import AnyTenantId, Instant
from libs.signing.bundle import BUNDLE_BYTES_MAX, MEDIA_TYPE
from libs.signing.digests import from_base64, normal_hex
from libs.signing.manifest import MANIFEST_BYTES_MAX
from services.evidence.domain import Artifact, AuditQuery
from services.evidence.errors import ObjectCorrupted
from services.evidence.handlers import Reading

# The manifest grows by a third in base64, the bundle by its escaped quotes; the rest is the JSON around them.
VERIFY_BYTES_MAX: Final = MANIFEST_BYTES_MAX * 4 // 3 + BUNDLE_BYTES_MAX * 2 + 1024

router = StrictRouter(
    prefix="/v1",
    max_body_size=VERIFY_BYTES_MAX,
    responses=refusals(TooLarge),
)

MANIFEST: Final = {"application/json": {"schema": {"description": "the manifest, byte for byte", "type": "object"}}}
BUNDLE: Final = {MEDIA_TYPE: {"schema": {"description": "a Sigstore bundle, v0.3", "type": "object"}}}
OF_AN_ARTIFACT: Final = refusals(Forbidden, NotFound, ObjectCorrupted)
# What a change is looked for by; PostgreSQL takes no NUL in a text.
FilterText = Annotated[str | None, Field(max_length=128, pattern=r"^[^\x00]*$")]
ABSENT: Final = "there is no such thing, or it is not yours"


async def reading_of(request: Request) -> Reading:
    """What the service's wiring put into the application."""
    reading: Reading = request.app.state.reading
    return reading


Reads = Annotated[Reading, Depends(reading_of)]


class ArtifactView(BaseModel):
    """A signed manifest: what it is about, and under which digest its bytes and its bundle are to be had."""

    model_config = ConfigDict(from_attributes=True)

    digest: str
    bundle_digest: str
    kind: str
    subject_id: str
    tenant_id: str
    number: str
    period: str
    key_fingerprint: str
    signed_at: Instant


class ChangeView(BaseModel):
    """One change that somebody made. `actor` is a pseudonym: a key's public id, or a keyed hash of a person."""

    model_config = ConfigDict(from_attributes=True)

    event_id: str
    service: str
    action: str
    subject: str
    tenant_id: str | None
    details: dict[str, str]
    actor: str
    request_id: str
    reason: str | None
    changed_at: Instant
    recorded_at: Instant


class AuditFilter(BaseModel):
    """Which changes: those that fit all that is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: FilterText = None
    actor: FilterText = None
    subject: FilterText = None
    tenant_id: AnyTenantId | None = None
    cursor: str | None = None
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class TrustedKey(BaseModel):
    """A public key. Compare its fingerprint (SHA-256 of the DER form) with one that came to you on another way."""

    fingerprint: str
    public_key_pem: str
    is_in_force: bool = Field(description="whether it signs now; others signed before it")


class Trust(BaseModel):
    """All keys that signed here, the one in force first."""

    algorithm: str = "ECDSA P-256, SHA-256"
    keys: list[TrustedKey]


class VerifyRequest(BaseModel):
    """What is to be judged."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"manifest": "e30=", "bundle": "{}"}]}
    )

    manifest: str = Field(description="base64 of the manifest's bytes")
    bundle: str = Field(description="the JSON text of its Sigstore bundle")


class SubjectView(BaseModel):
    """What a manifest is about."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    tenant_id: str
    number: str
    period: str


class FileView(BaseModel):
    """A file that a manifest lists. Its content was not looked at: compare it yourself, or run `maestro verify`."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    size: int
    sha256: str


class VerdictView(BaseModel):
    """Whether one of our keys signed the manifest; if not, `error` is a stable code and `detail` says why."""

    verified: bool
    key_fingerprint: str | None = None
    subject: SubjectView | None = None
    files: list[FileView] = []
    error: str | None = None
    detail: str | None = None


@router.get("/artifacts", responses=refusals(Forbidden, NotFound, MalformedCursor))
async def list_artifacts(
    caller: Caller,
    reads: Reads,
    tenant_id: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
) -> Page[ArtifactView]:
    """List the caller's signed manifests, newest first."""
    caller.require("evidence:read")
    tenants = caller.visible if tenant_id is None else frozenset((caller.reading(tenant_id),))
    found = await reads.artifacts(caller, tenants, place_of(cursor, moment, str), limit + 1)
    return page_of(found, limit, ArtifactView.model_validate, lambda one: (one.signed_at, one.digest))


@router.get(
    "/artifacts/{digest}",
    response_class=Response,
    responses={200: {"content": MANIFEST}, **OF_AN_ARTIFACT},
)
async def read_artifact(digest: str, caller: Caller, reads: Reads) -> Response:
    """Return the manifest's bytes exactly as they were signed."""
    artifact = await _own_artifact(digest, caller, reads)
    return _kept(await reads.content(artifact.digest), artifact.digest, "application/json")


@router.get(
    "/artifacts/{digest}/bundle",
    response_class=Response,
    responses={200: {"content": BUNDLE}, **OF_AN_ARTIFACT},
)
async def read_bundle(digest: str, caller: Caller, reads: Reads) -> Response:
    """Return the Sigstore bundle of the manifest."""
    artifact = await _own_artifact(digest, caller, reads)
    return _kept(await reads.content(artifact.bundle_digest), artifact.bundle_digest, MEDIA_TYPE)


@router.get("/audit", responses=refusals(Forbidden, MalformedCursor))
async def list_changes(
    caller: Caller,
    reads: Reads,
    asked: Annotated[AuditFilter, Query()],
) -> Page[ChangeView]:
    """List the changes that people made, newest first: who, what, when, why. For operators alone."""
    caller.require("evidence:read")
    if caller.visible is not None:
        raise Forbidden("the record of changes is the operator's")
    place = place_of(asked.cursor, _entry_id)
    query = AuditQuery(asked.service, asked.actor, asked.subject, asked.tenant_id)
    found = await reads.audit(caller, query, place[0] if place else None, asked.limit + 1)
    return page_of(found, asked.limit, ChangeView.model_validate, lambda entry: (entry.entry_id,))


@router.get("/trust", responses=refusals(Unavailable, Broken))
async def read_trust(reads: Reads) -> Trust:
    """Return the public keys. Open to all: whoever checks a signature need not be a customer."""
    keys = await reads.keys()
    return Trust(
        keys=[
            TrustedKey(fingerprint=key.fingerprint, public_key_pem=key.pem.decode("ascii"), is_in_force=number == 0)
            for number, key in enumerate(keys)
        ]
    )


@router.post("/verify", responses=refusals(Forbidden))
async def verify(asked: VerifyRequest, caller: Caller, reads: Reads) -> VerdictView:
    """Judge a manifest and its bundle by our keys; a bad signature is an answer, not an error."""
    caller.require("evidence:read")
    manifest = from_base64(asked.manifest)
    if manifest is None:
        raise Malformed("manifest: not base64")
    verdict = await reads.verdict(manifest, asked.bundle.encode())
    if verdict.manifest is None or verdict.signer is None:
        return VerdictView(verified=False, error=verdict.code, detail=verdict.why)
    return VerdictView(
        verified=True,
        key_fingerprint=verdict.signer.fingerprint,
        subject=SubjectView.model_validate(verdict.manifest.subject),
        files=[FileView.model_validate(entry) for entry in verdict.manifest.files],
    )


def _entry_id(text: str) -> int:
    entry_id = int(text)
    if not 0 < entry_id < 2**63:
        raise ValueError("an entry's place is a positive bigint")
    return entry_id


async def _own_artifact(digest: str, caller: Principal, reads: Reading) -> Artifact:
    caller.require("evidence:read")
    normal = normal_hex(digest)
    artifact = await reads.artifact(caller, normal) if normal else None
    if artifact is None:
        raise NotFound(ABSENT)
    caller.reading(artifact.tenant_id)
    return artifact


def _kept(content: bytes, digest: str, media_type: str) -> Response:
    """What is named by its digest never changes, so it may be kept by the one who asked, and by nobody between."""
    headers = {"etag": f'"{digest}"', "cache-control": "private, max-age=31536000, immutable"}
    return Response(content, media_type=media_type, headers=headers)
