"""Each kind of line stands in one room, so that a reader knows where to look and a reviewer what is misplaced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.tree import called, imported, modules, name_of, strings

EVERY_MODULE = pytest.mark.parametrize("path", modules(), ids=name_of)
SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE \S+ SET|DELETE FROM|WITH \w+ AS|CREATE|ALTER|LOCK TABLE)\b")
WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}


def in_room(path: Path, *rooms: str) -> bool:
    return any(re.search(room, name_of(path)) for room in rooms)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@EVERY_MODULE
def test_sql_stands_in_stores(path: Path) -> None:
    found = [text for text in strings(path) if SQL.match(text)]
    assert not found or in_room(path, r"/store(\.py|/)", r"^libs/(store|bus)/")


@EVERY_MODULE
def test_kafka_clients_stand_in_the_bus(path: Path) -> None:
    assert "aiokafka" not in tops(path) or in_room(path, r"^libs/bus/", r"/stream\.py$")


@EVERY_MODULE
def test_http_frameworks_stand_in_api_and_app(path: Path) -> None:
    assert "fastapi" not in tops(path) or in_room(
        path, r"/api(\.py|/)", r"/app\.py$", r"^libs/runtime/(web|json_bodies)\.py$", r"^libs/access/request\.py$"
    )


@EVERY_MODULE
def test_routers_of_services_read_json_strictly(path: Path) -> None:
    assert not {"fastapi.APIRouter", "APIRouter"} & called(path) or not in_room(path, r"^services/")


@EVERY_MODULE
def test_grpc_stands_in_rpc(path: Path) -> None:
    assert "grpc" not in tops(path) or in_room(path, r"/rpc(\.py|/)")


@EVERY_MODULE
def test_the_environment_is_read_in_settings(path: Path) -> None:
    reads = {"os.environ", "os.getenv", "os.environ.get"} & called(path) or "pydantic_settings" in tops(path)
    assert not reads or in_room(path, r"/settings\.py$", r"^libs/runtime/crashpoints\.py$")


@EVERY_MODULE
def test_the_wall_clock_is_read_in_one_module(path: Path) -> None:
    assert not WALL_CLOCK & called(path) or in_room(
        path, r"^libs/runtime/clock\.py$", r"^libs/sdk_python/src/maestro_sdk/clock\.py$"
    )


@EVERY_MODULE
def test_cryptography_stands_in_signing(path: Path) -> None:
    assert "cryptography" not in tops(path) or in_room(path, r"^libs/signing/")


@EVERY_MODULE
def test_postgres_drivers_stand_in_stores(path: Path) -> None:
    named = "asyncpg" in tops(path)
    assert not named or in_room(path, r"/store(\.py|/)", r"^libs/(store|bus)/")


@EVERY_MODULE
def test_valkey_clients_stand_in_stores(path: Path) -> None:
    assert not {"redis", "valkey"} & tops(path) or in_room(path, r"/store(\.py|/)")


@EVERY_MODULE
def test_one_client_goes_out_by_http(path: Path) -> None:
    clients = {"httpx", "httpcore", "requests", "aiohttp", "urllib3", "urllib.request", "http.client"}
    assert not clients & (tops(path) | imported(path)) or in_room(
        path, r"^libs/runtime/outbound\.py$", r"/cli(\.py|/)", r"^libs/sdk_python/"
    )  # a command asks the address that the person at it names
