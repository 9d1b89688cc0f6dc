"""What a body makes of memory is bounded, whatever it is: the resident peak of this process, with the edge in it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import zstandard

from libs.access.keys import ApiKey
from libs.runtime.clock import SystemClock
from services.metering.domain.bounds import BOUNDS
from services.metering.settings import MeteringSettings
from tests.support.access import bearer
from tests.support.bus import furnished_memory
from tests.support.metering_world import World, metering_world
from tests.support.otlp_grpc import OtlpClient, otlp_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
GROWTH_MIB = 256  # what is taken costs half of this at most; taken without bounds, these cost up to some thousands
TRACES, EVENTS = "/v1/traces", "/api/v1/events"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
BATCH = "application/cloudevents-batch+json"


class Peak:
    """The resident memory of this process: Linux keeps its peak, and forgets it when told to (proc(5))."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = self._read("VmRSS")

    @property
    def growth_mib(self) -> int:
        return (self._read("VmHWM") - self._before) // 1024

    def _read(self, name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database: Callable[..., str]) -> AsyncIterator[World]:
    settings, clock = MeteringSettings(postgres_url=module_database("metering"), otlp_grpc_port=0), SystemClock()
    async with metering_world(settings, await furnished_memory(clock), clock) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(world: World) -> ApiKey:
    return world.keys[await world.new_tenant()]


@pytest_asyncio.fixture(loop_scope="module")
async def client(world: World) -> AsyncIterator[OtlpClient]:
    async with otlp_client(world.app.state.otlp_grpc_port) as opened:
        yield opened


def gzip_bomb() -> bytes:
    """A gigabyte in a megabyte: one block, which stands for a MiB, a thousand times."""
    writer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    head = writer.compress(b"") + writer.compress(bytes(MIB)) + writer.flush(zlib.Z_FULL_FLUSH)
    block = writer.compress(bytes(MIB)) + writer.flush(zlib.Z_FULL_FLUSH)
    return head + block * 1024


def zstd_bomb() -> bytes:
    """A gigabyte in 32 KiB."""
    return zstandard.ZstdCompressor(level=1).compress(bytes(1024 * MIB))


def filled(head: bytes, part: bytes, tail: bytes = b"") -> bytes:
    """As many parts as fit into a body."""
    return head + part * ((BOUNDS.sent_bytes - len(head) - len(tail)) // len(part)) + tail


def inside(*numbers: int, part: bytes, size: int = BOUNDS.sent_bytes - 64) -> bytes:
    """A protobuf message that nests along these fields, and holds as many parts as fit into `size` bytes."""
    body = part * (size // len(part))
    for number in reversed(numbers):
        body = bytes([number << 3 | 2]) + length(len(body)) + body
    return body


def length(size: int) -> bytes:
    """A varint of five bytes."""
    return bytes(size >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)) + bytes([size >> 28])


def of_spans(size: int, part: bytes) -> bytes:
    """Spans of the largest size that is decoded, each full of parts."""
    span = inside(2, part=part, size=size)
    return inside(1, 2, part=span, size=len(span) * (BOUNDS.sent_bytes // len(span) - 1))


ATTRIBUTE, EVENT, LINK = b"\x4a\x00", b"\x5a\x00", b"\x6a\x00"
LARGEST = BOUNDS.part_bytes - 16
PROTOBUF_BOMBS: dict[str, Callable[[], bytes]] = {
    "empty spans": lambda: inside(1, 2, part=b"\x12\x00"),
    "empty scopes": lambda: inside(1, part=b"\x12\x00"),
    "empty resources": lambda: filled(b"", b"\x0a\x00"),
    "spans of empty attributes": lambda: of_spans(LARGEST, ATTRIBUTE),
    "spans of empty events": lambda: of_spans(LARGEST, EVENT),
    "spans of empty links": lambda: of_spans(LARGEST, LINK),
    "one span": lambda: inside(1, 2, 2, part=ATTRIBUTE, size=BOUNDS.sent_bytes - 128),
    "a resource of empty attributes": lambda: inside(1, 1, part=b"\x0a\x00"),
    "values without end": lambda: inside(*(1, 2, 2, 9, 2), *(5, 1) * 200, part=b"\x0a\x00", size=4 * MIB),
}
JSON_BOMBS: dict[str, Callable[[], bytes]] = {
    "empty objects": lambda: filled(b"[", b"{},", b"{}]"),
    "empty arrays": lambda: filled(b"[", b"[],", b"[]]"),
    "numbers": lambda: filled(b"[", b"1.5,", b"1]"),
    "names": lambda: b'[{"data":{' + b",".join(b'"%x":1' % number for number in range(650_000)) + b"}}]",
    "arrays in arrays": lambda: filled(b"", b"["),
    "objects in objects": lambda: filled(b"", b'{"a":'),
    "an open string": lambda: filled(b'["', b'\\"'),
    "one long number": lambda: filled(b"[", b"9", b"]"),
}
OTLP_JSON_BOMBS: dict[str, Callable[[], bytes]] = {
    "empty spans": lambda: filled(b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{},", b"{}]}]}]}"),
    "empty attributes": lambda: filled(
        b'{"resourceSpans":[{"resource":{"attributes":[', b'{"key":"a"},', b'{"key":"a"}]}}]}'
    ),
    "values in values": lambda: filled(b"", b'{"arrayValue":{"values":['),
}


@pytest.mark.parametrize("path", [TRACES, EVENTS])
@pytest.mark.parametrize(("encoding", "bomb"), [("gzip", gzip_bomb), ("zstd", zstd_bomb)])
async def test_a_gigabyte_in_an_encoding_fills_no_memory(
    world: World, key: ApiKey, path: str, encoding: str, bomb: Callable[[], bytes]
) -> None:
    content, headers = bomb(), {"content-type": JSON, "content-encoding": encoding}
    peak = Peak()
    answer = await world.post(path, key, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")
    assert peak.growth_mib < GROWTH_MIB


@pytest.mark.parametrize("bomb", PROTOBUF_BOMBS)
async def test_protobuf_of_endless_parts_fills_no_memory(world: World, key: ApiKey, bomb: str) -> None:
    content = PROTOBUF_BOMBS[bomb]()
    peak = Peak()
    answer = await world.post(TRACES, key, content=content, headers={"content-type": PROTOBUF})
    assert answer.status_code in {200, 400, 413}
    assert peak.growth_mib < GROWTH_MIB


@pytest.mark.parametrize("bomb", OTLP_JSON_BOMBS)
async def test_otlp_json_of_endless_parts_fills_no_memory(world: World, key: ApiKey, bomb: str) -> None:
    content = OTLP_JSON_BOMBS[bomb]()
    peak = Peak()
    answer = await world.post(TRACES, key, content=content, headers={"content-type": JSON})
    assert answer.status_code in {400, 413}
    assert peak.growth_mib < GROWTH_MIB


@pytest.mark.parametrize("bomb", JSON_BOMBS)
async def test_json_of_endless_values_fills_no_memory(world: World, key: ApiKey, bomb: str) -> None:
    content = JSON_BOMBS[bomb]()
    peak = Peak()
    answer = await world.post(EVENTS, key, content=content, headers={"content-type": BATCH})
    assert answer.status_code in {207, 400, 413}
    assert peak.growth_mib < GROWTH_MIB


@pytest.mark.parametrize("bomb", ["gzip", *PROTOBUF_BOMBS])
async def test_a_message_over_grpc_fills_no_memory(client: OtlpClient, key: ApiKey, bomb: str) -> None:
    content = gzip_bomb() if bomb == "gzip" else PROTOBUF_BOMBS[bomb]()
    peak = Peak()
    answer = await client.export(content, bearer(key))
    assert answer.code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert peak.growth_mib < GROWTH_MIB
