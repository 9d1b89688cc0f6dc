"""A Sigstore bundle v0.3 for one blob, signed by one managed key.

Shape and field names: sigstore/protobuf-specs, `sigstore_bundle.proto` and `sigstore_common.proto`, in the protobuf
JSON mapping. The reader knows exactly the fields that it checks: a log entry, a time-stamp or a second signature
would be a promise that nobody kept, so a bundle that carries one is refused, not half believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.signing.canonical import canonical_bytes
from libs.signing.digests import SHA256_BYTES, from_base64, sha256, to_base64
from libs.signing.errors import MalformedBundle, SignatureMismatch, UnknownKey
from libs.signing.keys import PublicKey, SigningKey
from libs.signing.reader import JsonValue, read_object

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DIGEST_ALGORITHM = "SHA2_256"
# A bundle for one managed key has about 500 bytes; the rest is room for the spacing of other writers.
BUNDLE_BYTES_MAX = 64 * 1024
# A P-256 signature in DER has at most 72 bytes.
SIGNATURE_BYTES_MAX = 72


@dataclass(frozen=True, slots=True)
class BlobSignature:
    """What a bundle says, before anything of it is believed."""

    hint: str | None
    digest: bytes
    signature: bytes


def sign_blob(content: bytes, key: SigningKey) -> bytes:
    """The bundle for `content`, canonical JSON. The same content and key give the same bytes."""
    return canonical_bytes(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
            "messageSignature": {
                "messageDigest": {"algorithm": DIGEST_ALGORITHM, "digest": to_base64(sha256(content))},
                "signature": to_base64(key.sign(content)),
            },
        }
    )


def verify_blob(content: bytes, bundle: bytes, trusted: Sequence[PublicKey]) -> PublicKey:
    """The trusted key that signed `content`.

    The hint only narrows which of the trusted keys are tried; it never adds one. Raises `MalformedBundle`,
    `MalformedJson`, `TooLarge`, `UnknownKey` or `SignatureMismatch`.
    """
    claimed = read_bundle(bundle)
    candidates = [key for key in trusted if claimed.hint in (None, key.hint)]
    if not candidates:
        known = ", ".join(key.hint for key in trusted) or "none"
        raise UnknownKey(f"the bundle points to the key {claimed.hint!r}; trusted: {known}")
    if claimed.digest != sha256(content):
        raise SignatureMismatch(
            f"the content has SHA-256 {sha256(content).hex()}, but {claimed.digest.hex()} was signed: it was changed"
        )
    for key in candidates:
        if key.has_signed(content, claimed.signature):
            return key
    raise SignatureMismatch(f"the signature is not by the key {candidates[0].fingerprint}, or not over this content")


def read_bundle(raw: bytes) -> BlobSignature:
    """The claims of a bundle of exactly the shape that `sign_blob` writes; nothing is verified yet."""
    document = read_object(raw, bytes_max=BUNDLE_BYTES_MAX)
    if document.get("mediaType") != MEDIA_TYPE:
        raise MalformedBundle(f"mediaType must be {MEDIA_TYPE}, not {document.get('mediaType')!r}")
    if "dsseEnvelope" in document:
        raise MalformedBundle("holds a DSSE envelope (an attestation); expected one signature over the blob itself")
    _check_members(document, "the bundle", required={"mediaType", "verificationMaterial", "messageSignature"})
    material = _object(document, "verificationMaterial")
    message = _object(document, "messageSignature")
    _check_members(message, "messageSignature", required={"messageDigest", "signature"})
    return BlobSignature(
        hint=_hint_of(material),
        digest=_digest_of(_object(message, "messageDigest")),
        signature=_signature_of(message),
    )


def _hint_of(material: dict[str, JsonValue]) -> str | None:
    """The hint in its standard base64 form; None if the bundle gives none."""
    for unchecked in ("tlogEntries", "timestampVerificationData"):
        if material.get(unchecked):
            raise MalformedBundle(f"carries {unchecked}, which this verifier does not check and so does not accept")
    _check_members(
        material,
        "verificationMaterial",
        required={"publicKey"},
        optional={"tlogEntries", "timestampVerificationData"},
    )
    public_key = _object(material, "publicKey")
    _check_members(public_key, "publicKey", required=set(), optional={"hint"})
    hint = public_key.get("hint", "")
    if not isinstance(hint, str):
        raise MalformedBundle("publicKey.hint must be a string")
    return hint or None


def _digest_of(message_digest: dict[str, JsonValue]) -> bytes:
    _check_members(message_digest, "messageDigest", required={"algorithm", "digest"})
    if message_digest["algorithm"] != DIGEST_ALGORITHM:
        raise MalformedBundle(f"messageDigest.algorithm must be {DIGEST_ALGORITHM}: {message_digest['algorithm']!r}")
    digest = _decoded(message_digest, "digest")
    if len(digest) != SHA256_BYTES:
        raise MalformedBundle(f"messageDigest.digest has {len(digest)} bytes; SHA-256 has {SHA256_BYTES}")
    return digest


def _signature_of(message: dict[str, JsonValue]) -> bytes:
    signature = _decoded(message, "signature")
    if not 0 < len(signature) <= SIGNATURE_BYTES_MAX:
        raise MalformedBundle(f"messageSignature.signature has {len(signature)} bytes; P-256 has 8 to 72")
    return signature


def _decoded(members: dict[str, JsonValue], name: str) -> bytes:
    text = members[name]
    content = from_base64(text) if isinstance(text, str) else None
    if content is None:
        raise MalformedBundle(f"{name} must be one base64 string")
    return content


def _object(members: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    value = members.get(name)
    if not isinstance(value, dict):
        raise MalformedBundle(f"{name} must be one object")
    return value


def _check_members(
    members: dict[str, JsonValue], where: str, *, required: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> None:
    if missing := sorted(required - members.keys()):
        raise MalformedBundle(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(members.keys() - required - optional):
        raise MalformedBundle(f"{where} has the unknown field {', '.join(map(repr, unknown))}")
