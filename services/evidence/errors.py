"""What evidence refuses. The family is in `libs/runtime/errors.py`.

Rejected
├── DigestMismatch        422   the manifest's bytes are not those that their digest names
├── ManifestRefused       422   the manifest is not of the form that we sign
├── SubjectMismatch       422   the manifest speaks of another thing than the event that carries it
└── Conflict
    ├── SubjectSigned     409   other bytes were signed for the same subject before
    └── NumberSigned      409   another subject was signed under the same number before
Broken
├── SigningKeyReplaced    500   the key file is not the one that signed so far
└── ObjectCorrupted       500   a kept file no longer has the content that its name promises
"""

from __future__ import annotations

from libs.runtime.errors import Broken, Conflict, Rejected


class DigestMismatch(Rejected):
    """The bytes and their digest disagree: one of them was changed on the way."""

    code = "digest_mismatch"
    status = 422
    title = "The content does not have the digest that came with it"


class ManifestRefused(Rejected):
    """Not a manifest in canonical form with at least one file."""

    code = "manifest_refused"
    status = 422
    title = "The manifest is not one that can be signed"


class SubjectMismatch(Rejected):
    """Signing it would let one tenant's invoice vouch for another's files."""

    code = "subject_mismatch"
    status = 422
    title = "The manifest is about something else"


class SubjectSigned(Conflict):
    """One subject has one set of bytes for ever: a correction is a new document."""

    code = "subject_signed"
    title = "Something else was signed as this document before"


class NumberSigned(Conflict):
    """A number means one document for ever."""

    code = "number_signed"
    title = "Another document was signed under this number before"


class SigningKeyReplaced(Broken):
    """Signing on with another key, unsaid, would make every earlier signature look forged."""

    code = "signing_key_replaced"


class ObjectCorrupted(Broken):
    """The disk gave back something else than was written."""

    code = "object_corrupted"
