"""Why a signature, a key or a signed folder was refused.

    SigningError
    ├── MalformedJson
    ├── NotCanonical
    ├── MalformedKey
    ├── MalformedBundle
    ├── MalformedManifest
    ├── UnknownKey
    ├── SignatureMismatch
    ├── TooLarge
    └── UnreadableFolder

Every message says what was found, what was expected and, where there is one, what to do.
"""


class SigningError(ValueError):
    """What this library raises; `code` is stable and may be shown to users and stored."""

    code = "signing_error"


class MalformedJson(SigningError):
    """The bytes are not the one strict JSON document that is allowed."""

    code = "malformed_json"


class NotCanonical(SigningError):
    """The value has no canonical form."""

    code = "not_canonical"


class MalformedKey(SigningError):
    """Not an ECDSA P-256 key in PEM, or a private one that others may read."""

    code = "malformed_key"


class MalformedBundle(SigningError):
    """Another shape than a Sigstore bundle v0.3 with one blob signature."""

    code = "malformed_bundle"


class MalformedManifest(SigningError):
    """Empty, ambiguous, or naming what no folder may hold."""

    code = "malformed_manifest"


class UnknownKey(SigningError):
    """The bundle points to a key that is not trusted."""

    code = "unknown_key"


class SignatureMismatch(SigningError):
    """Well formed, but not signed over these bytes by a trusted key."""

    code = "signature_mismatch"


class TooLarge(SigningError):
    """A bound was reached before anything was decided."""

    code = "too_large"


class UnreadableFolder(SigningError):
    """There is no folder to check."""

    code = "unreadable_folder"
