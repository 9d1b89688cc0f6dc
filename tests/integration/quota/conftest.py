"""What quota's tests on real servers share: limiters on the session's Valkey, a Valkey to kill, the running service."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from deploy.local.packages import installed_server
from libs.runtime.clock import SystemClock
from libs.schemas.values import TenantId
from services.quota.store.limiter import Limiter, connect_limiter
from tests.support.quota_service import fresh_tenant_id, quota, settings

__all__ = ["quota", "settings"]

PATIENCE_S = 0.5  # the machine that runs the tests is shared; what the service itself waits is measured apart

OpenLimiter = Callable[[], Limiter]


@pytest.fixture
def valkey_client(valkey_onlooker_url: str) -> Iterator[Redis]:
    """A client that may do anything, to look into the store and to read its clock."""
    client = Redis.from_url(valkey_onlooker_url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def open_limiter(valkey_url: str, valkey_password: str) -> OpenLimiter:
    """A factory of limiters, each with connections of its own, as separate processes have."""
    return lambda: connect_limiter(valkey_url, valkey_password, SystemClock(), patience_s=PATIENCE_S)


@pytest.fixture
def tenant_id() -> TenantId:
    """A tenant that no other test uses."""
    return fresh_tenant_id()


class OwnValkey:
    """A Valkey that one test may freeze and kill. Its password is `PASSWORD`."""

    PASSWORD = "of-one-test"

    def __init__(self, folder: Path) -> None:
        self.password_file = folder / "password"
        self.password_file.write_text(self.PASSWORD)
        self._socket = folder / "valkey.sock"
        self._log = folder / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self._socket), "--requirepass", self.PASSWORD, "--save", ""]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([installed_server(), *options], stdout=log, stderr=log)
        deadline_s = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        client = Redis.from_url(self.url, password=self.PASSWORD)
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            client.close()


@pytest.fixture
def own_valkey() -> Iterator[OwnValkey]:
    """A Valkey of this test alone."""
    with tempfile.TemporaryDirectory(prefix="maestro-valkey-", dir="/tmp") as folder:  # socket paths are short
        server = OwnValkey(Path(folder))
        server.start()
        yield server
        server.kill()
