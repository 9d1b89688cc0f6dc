"""Signing and verifying: canonical JSON, SHA-256, ECDSA P-256 keys, Sigstore bundles and file manifests.

Imports the standard library and `cryptography` only, so that a stranger can read, copy and run the verifier alone.
The rooms, from the bottom up: `errors`, `reader`, `canonical`, `digests`, `keys`, `bundle`, `manifest`, `folder`.
"""
