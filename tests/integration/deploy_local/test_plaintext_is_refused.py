"""`maestro up` in a clustered profile sends nothing to servers without TLS, and says what to set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.command import main
from deploy.local.parts import NotReady
from deploy.local.places import lay_places
from deploy.local.supervise import main as supervise
from deploy.local.system_servers import SystemValkey

POSTGRES = "MAESTRO_PROFILE=clustered needs TLS to PostgreSQL"
KAFKA = "MAESTRO_PROFILE=clustered needs TLS to Kafka"
VALKEY = "MAESTRO_PROFILE=clustered needs TLS to Valkey"


class Recorder:
    """A server that notes what comes, and ends the connection."""

    def __init__(self) -> None:
        self.address = ""
        self.came: list[bytes] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(b"a connection")
        self.came.append(await reader.read(1024))
        writer.close()


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    found = Recorder()
    server = await asyncio.start_server(found.take, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    found.address = f"{host}:{port}"
    async with server:
        yield found


@pytest.fixture
def told(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the settings: three servers of yours at the recorder, two of them over TLS."""
    (tmp_path / "secret").write_text("a-secret")
    (tmp_path / "secret").chmod(0o600)
    safe = {
        "STATE_DIR": str(tmp_path / "s"),
        "PROFILE": "clustered",
        "POSTGRES_URL": f"postgresql://admin@{recorder.address}/postgres?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "POSTGRES_PASSWORD_FILE": str(tmp_path / "secret"),
        "REDIS_URL": f"rediss://limiter@{recorder.address}?ssl_ca_certs=/etc/ca.pem",
        "REDIS_PASSWORD_FILE": str(tmp_path / "secret"),
        "KAFKA_BOOTSTRAP": recorder.address,
        "KAFKA_USER": "admin",
        "KAFKA_PASSWORD_FILE": str(tmp_path / "secret"),
        "KAFKA_PROTOCOL": "SASL_SSL",
    }

    def tell(**otherwise: str) -> None:
        for name, value in (safe | otherwise).items():
            monkeypatch.setenv(f"MAESTRO_{name}", value.format(recorder=recorder.address))

    return tell


PLAIN = [
    ({"POSTGRES_URL": "postgresql://admin@{recorder}/postgres"}, POSTGRES, "sslmode=verify-full&sslrootcert="),
    ({"KAFKA_PROTOCOL": "SASL_PLAINTEXT"}, KAFKA, "MAESTRO_KAFKA_PROTOCOL=SASL_SSL"),
    ({"REDIS_URL": "redis://limiter@{recorder}"}, VALKEY, "MAESTRO_REDIS_URL is rediss://user@host:port"),
]


@pytest.mark.parametrize(("otherwise", "problem", "fix"), PLAIN)
async def test_up_says_what_to_set_and_sends_nothing(
    told: Callable[..., None],
    recorder: Recorder,
    capsys: pytest.CaptureFixture[str],
    otherwise: dict[str, str],
    problem: str,
    fix: str,
) -> None:
    told(**otherwise)
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main, ["up"])
    said, advice = capsys.readouterr().err.splitlines()
    assert (ended.value.code, said) == (1, f"system servers: {problem}")
    assert advice.startswith("try: ")
    assert fix in advice
    assert recorder.came == []


@pytest.mark.parametrize(("otherwise", "problem", "fix"), PLAIN)
async def test_a_supervisor_that_is_started_by_hand_sends_nothing_either(
    told: Callable[..., None],
    recorder: Recorder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    otherwise: dict[str, str],
    problem: str,
    fix: str,
) -> None:
    told(**otherwise)
    places = lay_places(tmp_path / "s", None)
    assert await asyncio.to_thread(supervise, places.home) == 1
    said, advice = capsys.readouterr().err.splitlines()
    assert said == problem
    assert fix in advice
    assert recorder.came == []


async def test_what_is_sent_would_be_noticed(recorder: Recorder, tmp_path: Path) -> None:
    server = SystemValkey(f"redis://{recorder.address}", None, lay_places(tmp_path / "s", None))
    with pytest.raises(NotReady):
        await server.probe()
    assert recorder.came[0] == b"a connection"
    assert b"HELLO" in recorder.came[1] or b"PING" in recorder.came[1]
