"""What an operator does to a broker: topics, logins and ACLs. No service has the rights for any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaClient
from aiokafka.errors import for_code

from libs.bus.acls import Acl, Drift, drift
from libs.bus.kafka.access import KafkaAccess, connecting, lets_in
from libs.bus.kafka.acl_requests import AddAclsRequest, AllAclsRequest, RemoveAclsRequest, acls_in
from libs.bus.kafka.faults import in_our_words
from libs.bus.kafka.scram_requests import ChangeLoginsRequest, LoginsRequest
from libs.bus.kafka.untyped import FromAiokafka
from libs.runtime.errors import Broken, Unavailable
from libs.schemas.topics import TopicSpec
from libs.signing.scram import salted

REQUEST_TIMEOUT_MS: Final = 8_000
CLIENT_ID: Final = "maestro.operator"
IN_FORCE_TRIES: Final = 200  # of IN_FORCE_WAIT_S each: ten seconds for a broker to learn of a change; it takes some ms
IN_FORCE_WAIT_S: Final = 0.05


class KafkaAdministration:
    """An operator's connection. Every call raises Broken where the broker refuses, Unavailable without an answer.

    What is changed is committed by the controller first, and brokers learn of it a moment later: a change returns once
    the broker that answers us goes by it.
    """

    def __init__(self, client: FromAiokafka, access: KafkaAccess) -> None:
        """Take a started client and how it was made; `administration` makes one."""
        self._client = client
        self._access = access

    async def logins(self) -> frozenset[str]:
        """Return the names of all that can log in by password."""
        answer = await self._ask(LoginsRequest(), "asking for the logins")
        _refuse_errors([answer], "the logins cannot be read")
        return frozenset(one["user"] for one in answer["results"])

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Make these logins, or change the passwords of those that exist. Open connections stay as they are."""
        request = ChangeLoginsRequest({user: salted(secret) for user, secret in passwords.items()})
        answer = await self._ask(request, "setting passwords")
        _refuse_errors(answer["results"], "the login cannot be made")
        for user, secret in passwords.items():
            await _until(partial(lets_in, self._access, user, secret), f"the broker lets {user} in")

    async def remove_logins(self, users: Sequence[str]) -> None:
        """Remove these logins. Open connections stay until they are closed."""
        answer = await self._ask(ChangeLoginsRequest({}, users), "removing logins")
        _refuse_errors(answer["results"], "the login cannot be removed")

    async def acls(self) -> frozenset[Acl]:
        """Return every ACL of the broker."""
        answer = await self._ask(AllAclsRequest(), "asking for the ACLs")
        _refuse_errors([answer], "the ACLs cannot be read")
        return frozenset(acls_in(answer))

    async def change_acls(self, *, add: Collection[Acl] = (), remove: Collection[Acl] = ()) -> None:
        """Make and remove these ACLs."""
        if add:
            answer = await self._ask(AddAclsRequest(sorted(add)), "adding ACLs")
            _refuse_errors(answer["creation_responses"], "the ACL cannot be made")
        if remove:
            answer = await self._ask(RemoveAclsRequest(sorted(remove)), "removing ACLs")
            _refuse_errors(answer["filter_responses"], "the ACL cannot be removed")

        async def in_force() -> bool:
            found = await self.acls()
            return found.issuperset(add) and found.isdisjoint(remove)

        await _until(in_force, "the broker goes by the ACLs")

    async def drift(self, specs: Collection[TopicSpec]) -> Drift:
        """Return how the broker's ACLs differ from those that `specs` ask for."""
        return drift(specs, await self.acls(), await self.logins())

    async def apply_acls(self, specs: Collection[TopicSpec]) -> Drift:
        """Let the broker's ACLs be those that `specs` ask for; return what was missing and extra before."""
        found = await self.drift(specs)
        await self.change_acls(add=found.missing, remove=found.extra)
        return found

    async def _ask(self, request: object, doing: str) -> dict[str, Any]:
        with in_our_words(doing):
            answer = await self._client.send(self._client.get_random_node(), request)
        found: dict[str, Any] = answer.to_object()
        return found


async def _until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(IN_FORCE_TRIES):
        if await holds():
            return
        await asyncio.sleep(IN_FORCE_WAIT_S)
    raise Unavailable(f"it takes too long until {what}")


def _refuse_errors(results: Sequence[Mapping[str, Any]], what: str) -> None:
    for one in results:
        code = one["error_code"]
        if code:
            named = f" {one['user']!r}" if "user" in one else ""
            detail = f"{for_code(code).__name__} ({code}) {one['error_message'] or ''}"
            raise Broken(f"{what}{named}: {detail}; the operator's login needs the rights of a super user")


@asynccontextmanager
async def administration(access: KafkaAccess) -> AsyncIterator[KafkaAdministration]:
    """Connect as an operator while the block runs."""
    client = AIOKafkaClient(**access.client_settings(), client_id=CLIENT_ID, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        async with connecting(access, "connecting as the operator"):
            await client.bootstrap()
        yield KafkaAdministration(client, access)
    finally:
        await client.close()
