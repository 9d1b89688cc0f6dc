"""Valkey's users are held to their keys and commands; whoever does not log in gets nothing."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from deploy.local.credentials import password
from deploy.local.valkey import SUPERVISOR, Valkey
from services.quota.store.limiter import SCRIPT
from tests.support.stack import ServerSet

BUCKET = "{tnt_aaaaaaaaaaaaaaaaaaaa}:qps"
FOREIGN = "session:1"
REFUSED_TO_THE_LIMITER = {
    "another key": ("GET", FOREIGN),
    "another key written": ("SET", FOREIGN, "1"),
    "a key that looks like a bucket": ("GET", "tnt_aaaaaaaaaaaaaaaaaaaa:qps"),
    "a bucket removed": ("DEL", BUCKET),
    "a script sent": ("EVAL", "return 1", 0),
    "all keys": ("KEYS", "*"),
    "a walk over the keys": ("SCAN", 0),
    "everything removed": ("FLUSHALL",),
    "the configuration": ("CONFIG", "GET", "*"),
    "a file written": ("SAVE",),
    "the users": ("ACL", "LIST"),
    "a user": ("ACL", "SETUSER", "quota", "+@all"),
    "what others do": ("MONITOR",),
    "other clients": ("CLIENT", "LIST"),
    "the scripts of others": ("SCRIPT", "FLUSH"),
    "another server": ("REPLICAOF", "127.0.0.1", "6379"),
    "the end": ("SHUTDOWN",),
    "a channel": ("PUBLISH", "c", "m"),
    "what the supervisor asks": ("INFO",),
}


@pytest.fixture
def limiter(valkey: Valkey) -> Iterator[Redis]:
    """A client as quota has it."""
    with Redis.from_url(valkey.url(), password=password(valkey.secret_file())) as client:
        yield client


@pytest.fixture
def supervisor(valkey: Valkey) -> Iterator[Redis]:
    """A client as the supervisor has it."""
    with Redis.from_url(valkey.url(SUPERVISOR), password=password(valkey.secret_file(SUPERVISOR))) as client:
        yield client


def test_the_limiter_spends_with_its_script(limiter: Redis) -> None:
    script = limiter.register_script(SCRIPT)

    assert script(keys=[BUCKET], args=[5, 5, 1]) == [1, 4, 0, 200_000]


@pytest.mark.parametrize("command", REFUSED_TO_THE_LIMITER.values(), ids=REFUSED_TO_THE_LIMITER)
def test_the_limiter_may_do_nothing_else(limiter: Redis, command: tuple[str | int, ...]) -> None:
    with pytest.raises(NoPermissionError):
        limiter.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "body",
    [
        f"return redis.call('GET', '{FOREIGN}')",
        f"return redis.call('SET', '{FOREIGN}', '1')",
        "return redis.call('FLUSHALL')",
        "return redis.call('DEL', KEYS[1])",
    ],
    ids=["reads another key", "writes another key", "removes everything", "removes a bucket"],
)
def test_a_script_of_the_limiter_can_do_no_more_than_the_limiter(limiter: Redis, body: str) -> None:
    script = limiter.register_script(body)

    with pytest.raises(ResponseError, match=r"(?i)permission"):
        script(keys=[BUCKET])


def test_a_script_on_a_foreign_key_is_refused(limiter: Redis) -> None:
    script = limiter.register_script(SCRIPT)

    with pytest.raises(NoPermissionError):
        script(keys=[FOREIGN], args=[5, 5, 1])


@pytest.mark.parametrize("command", [("GET", BUCKET), ("SET", BUCKET, "1"), ("CONFIG", "GET", "*"), ("FLUSHALL",)])
def test_the_supervisor_asks_how_it_is_and_nothing_else(supervisor: Redis, command: tuple[str, ...]) -> None:
    assert supervisor.ping()
    assert supervisor.info("server")

    with pytest.raises(NoPermissionError):
        supervisor.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("login", [{}, {"username": "default", "password": ""}, {"username": "quota", "password": "x"}])
def test_who_does_not_log_in_gets_nothing(valkey: Valkey, login: dict[str, str]) -> None:
    with Redis.from_url(valkey.address(), **login) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_the_users_lie_in_a_private_file_without_their_passwords(embedded_servers: ServerSet, valkey: Valkey) -> None:
    file = embedded_servers.places.valkey / "users.acl"
    secrets = [password(valkey.secret_file()), password(valkey.secret_file(SUPERVISOR))]

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [secret for secret in secrets if secret in file.read_text()] == []
