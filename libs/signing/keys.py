"""ECDSA P-256 keys (FIPS 186-5): the one kind that every Sigstore verifier reads, so the only kind here.

A private key lies in a file of its own, PKCS #8 in PEM, that only its owner may read. A public key is known by its
fingerprint, the SHA-256 of its DER form (RFC 5280 SubjectPublicKeyInfo); Sigstore's hint is the same digest in base64.
"""

import os
import stat
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.signing.digests import sha256, to_base64
from libs.signing.errors import MalformedKey

# A P-256 key in PEM has under 300 bytes; a larger file is something else.
KEY_FILE_BYTES_MAX = 4096
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
_READABLE_BY_OTHERS = 0o077


@dataclass(frozen=True)
class PublicKey:
    """What a verifier trusts."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, pem: bytes) -> "PublicKey":
        """Raises `MalformedKey` for anything but one ECDSA P-256 public key in PEM."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise MalformedKey("not a public key in PEM; expected a -----BEGIN PUBLIC KEY----- block") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MalformedKey("the public key is of another kind; only ECDSA P-256 is trusted")
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """Raises `MalformedKey`, and `OSError` when the file cannot be read."""
        with path.open("rb") as file:
            return cls.from_pem(_bounded(file.read(KEY_FILE_BYTES_MAX + 1), path))

    @cached_property
    def der(self) -> bytes:
        """RFC 5280 SubjectPublicKeyInfo."""
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def pem(self) -> bytes:
        """The same in PEM (RFC 7468), as `cosign --key` and `openssl` read it."""
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def fingerprint(self) -> str:
        """64 lower-case hex digits; compare them with what the signer published elsewhere."""
        return sha256(self.der).hex()

    @cached_property
    def hint(self) -> str:
        """How a Sigstore bundle points to this key."""
        return to_base64(sha256(self.der))

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """True if `signature` (DER, RFC 3279) is this key's over the SHA-256 of `content`."""
        try:
            self.key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def save(self, path: Path) -> None:
        """Write the PEM for everyone to read, in place of an older one in one step. The folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _written(path, self.pem, PUBLIC_MODE).replace(path)
        _sync_folder(path.parent)


@dataclass(frozen=True)
class SigningKey:
    """A private key. Its text form never holds the secret."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        """From the operating system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Raises `MalformedKey` (another kind, or readable by others), and `OSError` when it cannot be read."""
        pem = _read_private(path)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise MalformedKey(f"{path} is not an unencrypted private key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise MalformedKey(f"{path} holds a key of another kind; only ECDSA P-256 signs")
        return cls(key)

    @classmethod
    def load_or_make(cls, path: Path) -> "SigningKey":
        """The key in `path`; made there if there is none. Of several processes that start at once, the first wins."""
        if not path.exists():
            cls.generate().save_new(path)
        return cls.load(path)

    @cached_property
    def public(self) -> PublicKey:
        """The half that verifiers get."""
        return PublicKey(self.key.public_key())

    def sign(self, content: bytes) -> bytes:
        """DER signature over the SHA-256 of `content`; the same each time (RFC 6979), so no randomness can leak."""
        return self.key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def save_new(self, path: Path) -> bool:
        """Write the key unless the file is there; never replaces one. True if it was written."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        written = _written(path, pem, PRIVATE_MODE)
        try:
            os.link(written, path)
        except FileExistsError:
            return False
        finally:
            written.unlink()
        _sync_folder(path.parent)
        return True


def _written(path: Path, content: bytes, mode: int) -> Path:
    """A durable neighbour of `path` with `content`, never readable by more than `mode` allows."""
    # mkstemp makes the file 0600 before a byte is in it.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise MalformedKey(f"{path} is not a regular file")
        if status.st_mode & _READABLE_BY_OTHERS:
            raise MalformedKey(f"{path} may be read by others; run: chmod 600 {path}, and replace the key")
        return _bounded(file.read(KEY_FILE_BYTES_MAX + 1), path)


def _bounded(content: bytes, path: Path) -> bytes:
    if len(content) > KEY_FILE_BYTES_MAX:
        raise MalformedKey(f"{path} is too large to be a key")
    return content
