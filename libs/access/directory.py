"""The directory: all live keys and all tenants, in memory, so that no request waits for a call to check its key.

Fed by the compacted topic tenant-changes (libs/access/feed.py). Every operation is O(1); memory is bounded by
MAX_KEYS live keys and MAX_TENANTS tenants. Revoked keys leave, and a revocation is final: a straggling older record
of the same key does not bring it back.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.access.bearer import HOW, bearer_of
from libs.access.errors import KeyUnusable
from libs.access.keys import digest_of, parse_key
from libs.access.principal import Principal
from libs.runtime.errors import Broken, Unauthenticated, Unavailable
from libs.schemas.events import KeyChanged, TenantChanged

MAX_KEYS: Final = 500_000  # about 400 MB when full; two of each tenant (identity holds to that), and all edges'
MAX_TENANTS: Final = 500_000
REVOKED_KEPT: Final = 65_536  # a straggler is at most a relay's batch old; this many revocations outlast any
_UNKNOWN_DIGEST: Final = bytes(32)  # no text is known with this SHA-256: comparing with it fails, at the usual cost


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    principal: Principal
    expires_at: datetime | None


class Directory:
    """Keys and tenants of one environment. Not thread-safe: it lives on one event loop."""

    def __init__(
        self,
        env: str,
        *,
        max_keys: int = MAX_KEYS,
        max_tenants: int = MAX_TENANTS,
        revoked_kept: int = REVOKED_KEPT,
        digest: Callable[[str], bytes] = digest_of,
    ) -> None:
        """Keep the keys of `env`, the second part of every key's text, within the bounds given."""
        self._digest = digest
        self._env = env
        self._max_keys = max_keys
        self._max_tenants = max_tenants
        self._revoked_kept = revoked_kept
        self._entries: dict[str, _Entry] = {}
        self._revoked: OrderedDict[str, None] = OrderedDict()
        self._tenants: dict[str, TenantChanged] = {}
        self._trusted = False
        nobody = Principal("tenant", "", frozenset(), None, frozenset(), self.knows)
        self._unknown = _Entry(_UNKNOWN_DIGEST, nobody, None)

    def trust(self) -> None:
        """Answer from now on: all that was said before the start has been applied."""
        self._trusted = True

    def distrust(self) -> None:
        """Answer Unavailable from now on: nobody reads the changes any more, so a revoked key would go unnoticed."""
        self._trusted = False

    def require_ready(self) -> None:
        """Raise Unavailable unless the directory is caught up and fed."""
        if not self._trusted:
            raise Unavailable("the keys are still being read; try again")

    def authenticate(self, authorization: str | None, now: datetime) -> Principal:
        """Return the principal of an `Authorization: Bearer <key>` header at `now`.

        An unknown key costs what a known one costs: one digest, one constant-time comparison. The error is one and the
        same whatever was wrong.

        Raises:
            Unauthenticated: no key, or none that is good here and now.
            Unavailable: the directory is not caught up.

        """
        return self.holder(bearer_of(authorization), now)

    def holder(self, text: str, now: datetime) -> Principal:
        """Return the principal of a key's text at `now`; raises as `authenticate`."""
        self.require_ready()
        key = parse_key(text)
        entry = self._entries.get(key.key_id, self._unknown) if key is not None else self._unknown
        is_proven = hmac.compare_digest(self._digest(text), entry.digest)
        is_ours = key is not None and key.env == self._env
        if not (is_proven and is_ours and self._is_live(entry, now)):
            raise Unauthenticated(HOW)
        return entry.principal

    def edge(self, key_id: str, now: datetime) -> Principal:
        """Return the edge whose key has this public id, for usage that comes without the key itself.

        Nothing is proven here: an operator has bound what comes (a topic that only such senders may write) to the key.

        Raises:
            KeyUnusable: there is no such key, it is revoked or has expired, or it is not an edge's with usage:write.
            Unavailable: the directory is not caught up.

        """
        self.require_ready()
        entry = self._entries.get(key_id)
        if entry is None or not self._is_live(entry, now):
            raise KeyUnusable(f"key {key_id} is not known here, is revoked or has expired: bind the topic to another")
        if entry.principal.kind != "edge" or "usage:write" not in entry.principal.effective_scopes:
            raise KeyUnusable(f"key {key_id} is not an edge's key with usage:write: bind the topic to such a key")
        return entry.principal

    def tenant(self, tenant_id: str) -> TenantChanged | None:
        """Return the tenant as it last was said to be, None where nothing was said."""
        return self._tenants.get(tenant_id)

    def knows(self, tenant_id: str) -> bool:
        """Tell whether there is a tenant of that id."""
        return tenant_id in self._tenants

    def is_active(self, tenant_id: str) -> bool:
        """Tell whether there is a tenant of that id whose own keys and tokens are taken."""
        tenant = self._tenants.get(tenant_id)
        return tenant is not None and tenant.status == "active"

    def on_tenant_changed(self, tenant: TenantChanged) -> None:
        """Take the tenant as it now is; raise Broken past the bound."""
        if tenant.tenant_id not in self._tenants and len(self._tenants) >= self._max_tenants:
            raise Broken(f"more than {self._max_tenants} tenants: raise MAX_TENANTS with the memory of the edges")
        self._tenants[tenant.tenant_id] = tenant

    def on_key_changed(self, key: KeyChanged) -> None:
        """Take the key as it now is; raise Broken past the bound."""
        if key.revoked_at is not None:
            self._revoke(key.key_id)
        elif key.key_id not in self._revoked:
            self._admit(key)

    def forget_key(self, key_id: str) -> None:
        """Drop the key until it is said again."""
        self._entries.pop(key_id, None)

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop the tenant; its keys stop working, since they need one that is known."""
        self._tenants.pop(tenant_id, None)

    def _revoke(self, key_id: str) -> None:
        self._entries.pop(key_id, None)
        self._revoked[key_id] = None
        if len(self._revoked) > self._revoked_kept:
            self._revoked.popitem(last=False)

    def _admit(self, key: KeyChanged) -> None:
        if key.key_id not in self._entries and len(self._entries) >= self._max_keys:
            raise Broken(f"more than {self._max_keys} live keys: raise MAX_KEYS with the memory of the edges")
        principal = Principal(
            kind=key.kind,
            key_id=key.key_id,
            scopes=frozenset(key.scopes),
            tenant_id=key.tenant_id,
            act_for=frozenset(key.act_for),
            is_known=self.knows,
        )
        self._entries[key.key_id] = _Entry(bytes.fromhex(key.digest), principal, key.expires_at)

    def _is_live(self, entry: _Entry, now: datetime) -> bool:
        is_unexpired = entry.expires_at is None or now < entry.expires_at
        tenant_id = entry.principal.tenant_id
        return is_unexpired and (tenant_id is None or self.is_active(tenant_id))
