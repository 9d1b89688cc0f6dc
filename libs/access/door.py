"""The door of a service: an API key or a token in, a principal out; failures counted by address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from libs.access.attempts import FailedAttempts
from libs.access.bearer import bearer_of, is_token
from libs.access.directory import Directory
from libs.access.oidc.tokens import Tokens
from libs.access.oidc.trust import tokens_of
from libs.access.peers import client_address
from libs.access.principal import Principal
from libs.runtime.clock import Clock
from libs.runtime.errors import Unauthenticated
from libs.runtime.settings import ServiceSettings

MAX_REPEATED: Final = 50_000  # wrong credentials that were passed on, as digests: a few megabytes


class Door:
    """Decides who comes in, and whose a credential is that a caller passes on. Lives on one event loop."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        tokens: Tokens | None = None,
        attempts: FailedAttempts | None = None,
        passed_on: FailedAttempts | None = None,
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """Know keys by `directory`, tokens by `tokens` (none are taken without it)."""
        self._directory = directory
        self._clock = clock
        self._tokens = tokens
        self._attempts = attempts or FailedAttempts(clock)
        # Apart: what a caller passes on closes the door neither to itself nor to its neighbours.
        self._passed_on = passed_on or FailedAttempts(clock, max_repeated=MAX_REPEATED)
        self._trusted_proxies = trusted_proxies

    async def admit(self, authorization: str | None, peer: str | None, forwarded: Sequence[str] = ()) -> Principal:
        """Return who sent a request from `peer` (an address) with this Authorization and X-Forwarded-For.

        Raises:
            Unauthenticated: no credential, or none that is good here and now.
            TooManyAttempts: the address sent too many of those.
            Unavailable: what would tell is not known yet.

        """
        return await self._tried(self._attempts, bearer_of(authorization), self.address_of(peer, forwarded))

    async def holder(self, credential: str, address: str) -> Principal:
        """Return the principal of a key or token that a caller at `address` (by `address_of`) passes on.

        Raises as `admit`; what counts is how many wrong credentials the address passed on.
        """
        return await self._tried(self._passed_on, credential, address)

    def address_of(self, peer: str | None, forwarded: Sequence[str] = ()) -> str:
        """Return the address that failures of a request from `peer` with this X-Forwarded-For are counted for."""
        return client_address(peer, forwarded, self._trusted_proxies)

    async def _tried(self, attempts: FailedAttempts, credential: str, address: str) -> Principal:
        attempts.require_room(address, credential)
        try:
            principal = await self._known(credential)
        except Unauthenticated:
            attempts.failed(address, credential)
            raise
        attempts.passed(address, credential)
        return principal

    async def _known(self, credential: str) -> Principal:
        now = self._clock.now()
        if self._tokens is None or not is_token(credential):
            return self._directory.holder(credential, now)
        self._directory.require_ready()
        return await self._tokens.verify(credential, now)


@asynccontextmanager
async def open_door(settings: ServiceSettings, directory: Directory, clock: Clock) -> AsyncIterator[Door]:
    """Give the door that the settings ask for, until the block ends; raise Broken where their files cannot be used."""
    tokens = tokens_of(settings, directory, clock)
    try:
        yield Door(directory, clock, tokens=tokens, trusted_proxies=settings.trusted_proxies)
    finally:
        if tokens is not None:
            await tokens.aclose()
