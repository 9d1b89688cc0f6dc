"""What goes out, against a real TLS server on loopback that an authority of the test vouches for."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from libs.runtime.outbound import (
    Outbound,
    OutboundAnswerRefused,
    OutboundRefused,
    OutboundRules,
    OutboundUnreachable,
    Resolve,
    outbound_of,
    trust_of,
)
from libs.runtime.settings import ServiceSettings
from tests.support.far_side import Authority, FarSide, far_side, make_authority, saying

NAME = "keys.example.test"
LOOPBACK = (ip_network("127.0.0.0/8"),)
MAX_BYTES = 50_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), NAME)


@pytest.fixture
async def side(authority: Authority) -> AsyncIterator[FarSide]:
    async with far_side(authority.server_context()) as listening:
        yield listening


def answers(*rounds: Sequence[str]) -> tuple[Resolve, list[str]]:
    """Return a resolver that gives the next round's addresses whenever it is asked, and the names that it was asked."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return rounds[min(len(asked), len(rounds)) - 1]

    return resolve, asked


@asynccontextmanager
async def going_out(ca_file: Path, resolve: Resolve | None = None, **rules: object) -> AsyncIterator[Outbound]:
    allowed: dict[str, object] = {"allowed": LOOPBACK, "max_bytes": MAX_BYTES}
    client = Outbound(
        OutboundRules(**(allowed | rules)),  # type: ignore[arg-type] # each test changes one rule
        trust=trust_of(ca_file),
        resolve=resolve or answers(["127.0.0.1"])[0],
    )
    try:
        yield client
    finally:
        await client.aclose()


async def test_the_name_is_proven_while_the_connection_goes_to_the_checked_address(
    side: FarSide, authority: Authority
) -> None:
    side.says["/jwks?v=1"] = saying(b'{"keys": []}', headers="content-type: application/json\r\n")
    async with going_out(authority.ca_file) as client:
        answer = await client.get(f"https://{NAME}:{side.port}/jwks?v=1")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b'{"keys": []}', "application/json")
    assert f"Host: {NAME}:{side.port}" in side.heads[0]


async def test_a_name_server_that_answers_otherwise_later_moves_no_connection(
    side: FarSide, authority: Authority
) -> None:
    side.says["/"] = saying(b"ok")
    resolve, asked = answers(["127.0.0.1"], ["169.254.169.254"])
    async with going_out(authority.ca_file, resolve) as client:
        url = f"https://{NAME}:{side.port}/"
        assert (await client.get(url)).body == b"ok"
        assert asked == [NAME]  # resolved once: what was checked is what was connected to
        with pytest.raises(OutboundRefused, match="link-local"):
            await client.get(url)
    assert len(side.heads) == 1


async def test_one_forbidden_address_among_good_ones_refuses_the_name(side: FarSide, authority: Authority) -> None:
    resolve, _ = answers(["127.0.0.1", "10.0.0.7"])
    async with going_out(authority.ca_file, resolve) as client:
        with pytest.raises(OutboundRefused, match="private") as refused:
            await client.get(f"https://{NAME}:{side.port}/")
    assert "10.0.0.7" not in refused.value.detail
    assert side.heads == []


async def test_a_dead_address_is_passed_over_for_the_next_of_the_same_answer(
    side: FarSide, authority: Authority
) -> None:
    side.says["/"] = saying(b"ok")
    resolve, _ = answers(["127.0.0.2", "127.0.0.1"])  # the server listens on the second only
    async with going_out(authority.ca_file, resolve) as client:
        assert (await client.get(f"https://{NAME}:{side.port}/")).body == b"ok"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "localhost"])
async def test_loopback_is_refused_however_it_is_written(host: str, authority: Authority) -> None:
    settings = ServiceSettings(outbound_ca_file=authority.ca_file)
    client = outbound_of(settings)
    with pytest.raises(OutboundRefused, match="loopback"):
        await client.get(f"https://{host}:1/")


async def test_the_settings_open_the_networks_and_hosts_that_they_list() -> None:
    async with far_side(None) as plain:
        plain.says["/"] = saying(b"plain")
        given = {"outbound_allowed": "127.0.0.0/8, ::1/128", "outbound_plain_hosts": "127.0.0.1"}
        client = outbound_of(ServiceSettings.model_validate(given))
        assert (await client.get(f"http://127.0.0.1:{plain.port}/")).body == b"plain"
        with pytest.raises(OutboundRefused, match="must be asked by https"):
            await client.get(f"http://localhost:{plain.port}/")


@pytest.mark.parametrize(
    "url",
    ["ftp://h/", "https://", "https://user:pw@h/", "file:///etc/passwd", "//h/", "https://h:99999/", "https://a\nb/"],
)
async def test_what_is_no_plain_https_url_is_refused(url: str, authority: Authority) -> None:
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundRefused):
            await client.get(url)


async def test_a_certificate_for_another_name_is_refused(side: FarSide, authority: Authority) -> None:
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundUnreachable, match="does not prove its name: Hostname mismatch"):
            await client.get(f"https://other.example.test:{side.port}/")


async def test_an_authority_that_is_not_trusted_proves_nothing(side: FarSide, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path, NAME)
    async with going_out(stranger.ca_file) as client:
        with pytest.raises(OutboundUnreachable, match="does not prove its name"):
            await client.get(f"https://{NAME}:{side.port}/")


async def test_a_redirect_is_an_error_and_is_not_followed(side: FarSide, authority: Authority) -> None:
    side.says["/"] = saying(b"", status="302 Found", headers=f"location: https://{NAME}:{side.port}/next\r\n")
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundAnswerRefused, match="redirects"):
            await client.get(f"https://{NAME}:{side.port}/")
    assert len(side.heads) == 1


async def test_a_body_that_drips_ends_at_the_total_time(side: FarSide, authority: Authority) -> None:
    stopped = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx")
        await writer.drain()
        await stopped.wait()

    side.says["/"] = drip
    async with going_out(authority.ca_file, total_s=0.5) as client:
        with pytest.raises(OutboundUnreachable, match="too long"):
            await client.get(f"https://{NAME}:{side.port}/")
    stopped.set()


async def test_a_silent_far_side_ends_at_the_read_time(side: FarSide, authority: Authority) -> None:
    stopped = asyncio.Event()

    async def silence(_writer: asyncio.StreamWriter) -> None:
        await stopped.wait()

    side.says["/"] = silence
    async with going_out(authority.ca_file, read_s=0.3, total_s=60) as client:
        with pytest.raises(OutboundUnreachable, match="too long"):
            await client.get(f"https://{NAME}:{side.port}/")
    stopped.set()


async def test_an_endless_body_is_cut_at_the_bound(side: FarSide, authority: Authority) -> None:
    sent_bytes = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 10_000)
            sent_bytes += 10_000
            await writer.drain()

    side.says["/"] = endless
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundAnswerRefused, match=f"larger than {MAX_BYTES} bytes"):
            await client.get(f"https://{NAME}:{side.port}/")
    assert sent_bytes < 100_000_000  # what the sockets between us hold, not what it would have sent


async def test_a_gzip_bomb_is_cut_at_the_bound_of_what_it_becomes(side: FarSide, authority: Authority) -> None:
    bomb = gzip.compress(bytes(40_000_000), mtime=0)
    assert len(bomb) < MAX_BYTES
    side.says["/"] = saying(bomb, headers="content-encoding: gzip\r\n")
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundAnswerRefused, match=f"larger than {MAX_BYTES} bytes"):
            await client.get(f"https://{NAME}:{side.port}/")


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"whole")[:-4], "gzip"),
        (gzip.compress(b"one") + gzip.compress(b"two"), "gzip"),
        (b"no gzip at all", "gzip"),
        (zlib.compress(b"deflated"), "deflate"),
    ],
    ids=["cut off", "more behind it", "not gzip", "another encoding"],
)
async def test_a_body_that_is_not_encoded_as_said_is_refused(
    body: bytes, encoding: str, side: FarSide, authority: Authority
) -> None:
    side.says["/"] = saying(body, headers=f"content-encoding: {encoding}\r\n")
    async with going_out(authority.ca_file) as client:
        with pytest.raises(OutboundAnswerRefused):
            await client.get(f"https://{NAME}:{side.port}/")


async def test_a_compressed_body_is_given_decoded(side: FarSide, authority: Authority) -> None:
    side.says["/"] = saying(gzip.compress(b"the keys" * 100), headers="content-encoding: gzip\r\n")
    async with going_out(authority.ca_file) as client:
        assert (await client.get(f"https://{NAME}:{side.port}/")).body == b"the keys" * 100


async def test_no_proxy_of_the_environment_is_used(
    side: FarSide, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    side.says["/"] = saying(b"direct")
    async with going_out(authority.ca_file) as client:
        assert (await client.get(f"https://{NAME}:{side.port}/")).body == b"direct"
