"""The one HTTP client that goes out: it connects to exactly the address that it checked, and reads a bounded answer.

A name is resolved once for each request; every address it has must be allowed (libs/runtime/addresses.py), and the
connection goes to one of those very addresses, so a name server that answers differently the second time changes
nothing. TLS still proves the name: server name indication, Host and certificate are those of the URL. Connections are
not kept, so that each request is checked anew. No redirect is followed, no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpcore
import httpx

from libs.runtime.addresses import Network, refusal
from libs.runtime.errors import Broken, Rejected, Unavailable
from libs.runtime.settings import ServiceSettings

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name, best first; raises OSError where there are none."""

MAX_CONNECTIONS: Final = 20  # at once; what goes out is little, and a slow far side must not take our descriptors
MAX_ADDRESSES: Final = 3  # of one name, tried in turn
_REDIRECTS: Final = range(300, 400)
_PORTS: Final = range(1, 65_536)
_GZIP_WINDOW: Final = 31  # zlib: a gzip header, and the largest window there is (32 KiB)

_log = logging.getLogger(__name__)


class OutboundRefused(Rejected):
    """The URL, or an address that its host has, is not one that this installation connects to."""

    code = "outbound_refused"
    status = 422
    title = "The address may not be connected to"


class OutboundAnswerRefused(Rejected):
    """The far side answered what is not taken: a redirect, more than the bound, an encoding that was not asked for."""

    code = "outbound_answer_refused"
    status = 422
    title = "The far side's answer is not accepted"


class OutboundUnreachable(Unavailable):
    """The far side cannot be reached, does not prove its name, or takes too long."""

    code = "outbound_unreachable"
    title = "The far side cannot be reached"


@dataclass(frozen=True, slots=True)
class OutboundRules:
    """What the operator allows, and the bounds of one request, in seconds and bytes (of the body, decoded or not).

    `allowed` are networks beyond the public internet; `plain_hosts` are hosts that may be asked without TLS.
    """

    allowed: tuple[Network, ...] = ()
    plain_hosts: frozenset[str] = frozenset()
    connect_s: float = 3.0
    read_s: float = 5.0
    total_s: float = 10.0
    max_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What the far side said: any status but a redirect's, and the whole body, decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the machine's resolver has for `host`, in its order (RFC 6724)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def trust_of(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom TLS trusts: the machine's authorities, or only those in the PEM file `ca_file`. TLS 1.2 or newer."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise Broken(f"cannot read the authorities in {ca_file}: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def outbound_of(settings: ServiceSettings) -> Outbound:
    """Return the client that the settings allow."""
    rules = OutboundRules(settings.outbound_allowed, frozenset(settings.outbound_plain_hosts))
    return Outbound(rules, trust=trust_of(settings.outbound_ca_file))


class Outbound:
    """Sends requests to the outside. Use `aclose` at the end."""

    def __init__(
        self, rules: OutboundRules, *, trust: ssl.SSLContext | None = None, resolve: Resolve = system_resolve
    ) -> None:
        """Go by `rules`; `trust` says which authorities prove a name (the machine's)."""
        self._rules = rules
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust or trust_of(None),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=_Checked(rules.allowed, resolve),
        )

    async def get(self, url: str) -> OutboundAnswer:
        """Ask for `url`; raises as `request`."""
        return await self.request("GET", url)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> OutboundAnswer:
        """Send a request and return the answer.

        Raises:
            OutboundRefused: the URL or its address is not allowed.
            OutboundAnswerRefused: a redirect, a body over the bound or in another encoding.
            OutboundUnreachable: no connection, no valid certificate, or no whole answer in time.

        """
        target = _target(url, self._rules.plain_hosts)
        sent = {"accept-encoding": "gzip", "user-agent": "maestro"} | {
            name.lower(): value for name, value in (headers or {}).items()
        }
        try:
            async with asyncio.timeout(self._rules.total_s):
                return await self._exchange(method, target, list(sent.items()), content)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise OutboundUnreachable(f"{_named(target)} took too long to answer") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise OutboundUnreachable(f"{_named(target)} {_failure(error)}") from error

    async def aclose(self) -> None:
        """Close what is open."""
        await self._pool.aclose()

    async def _exchange(
        self, method: str, target: httpcore.URL, headers: list[tuple[str, str]], content: bytes
    ) -> OutboundAnswer:
        times = {"connect": self._rules.connect_s, "read": self._rules.read_s, "write": self._rules.read_s}
        extensions = {"timeout": times | {"pool": self._rules.total_s}}
        async with self._pool.stream(
            method, target, headers=headers, content=content, extensions=extensions
        ) as response:
            if response.status in _REDIRECTS:
                raise OutboundAnswerRefused(f"{_named(target)} redirects, which is not followed: name the final URL")
            named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return OutboundAnswer(response.status, named, await _body(response, named, self._rules.max_bytes))


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to names by way of their checked addresses."""

    def __init__(self, allowed: tuple[Network, ...], resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async with asyncio.timeout(timeout):
            addresses = await self._addresses(host, port)
            failure: httpcore.NetworkError | None = None
            for address in addresses:
                try:
                    return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
                except httpcore.ConnectError as error:
                    failure = error
            raise failure or httpcore.ConnectError("the name has no address")

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        found = await self._resolve(host, port)
        for address in found:
            kind = refusal(address, self._allowed)
            if kind is not None:
                # The address itself goes to the log only: whoever named the host may not read our name server.
                _log.warning("refused to connect", extra={"host": host, "address": address, "kind": kind})
                raise OutboundRefused(f"{host} has an address that is {kind}; an operator can allow its network")
        return found[:MAX_ADDRESSES]


def _target(url: str, plain_hosts: frozenset[str]) -> httpcore.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise OutboundRefused("the URL is not one") from error
    if parsed.scheme not in ("https", "http") or not parsed.host or parsed.userinfo:
        raise OutboundRefused("the URL must be https://host/path, without a user name")
    if parsed.port is not None and parsed.port not in _PORTS:
        raise OutboundRefused(f"{parsed.port} is no port")
    if parsed.scheme == "http" and parsed.host not in plain_hosts:
        raise OutboundRefused(f"{parsed.host} must be asked by https; an operator can allow http for the host")
    return httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)


def _named(target: httpcore.URL) -> str:
    # Neither path nor query: they may hold what only the far side should see.
    return target.host.decode("ascii")


def _failure(error: Exception) -> str:
    # Of the system's own words only why a certificate is refused: the others may hold the address, which is not for
    # whoever named the host. httpcore drops the cause, so that its text is all there is.
    _, is_certificate, why = str(error).partition("certificate verify failed: ")
    if is_certificate:
        return f"does not prove its name: {why.partition(' (_ssl')[0]}"
    return "breaks the protocol" if isinstance(error, httpcore.ProtocolError) else "cannot be reached"


async def _body(response: httpcore.Response, headers: Mapping[str, str], max_bytes: int) -> bytes:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise OutboundAnswerRefused(f"the answer is encoded as {encoding[:32]!r}, which was not asked for")
    gunzip = zlib.decompressobj(_GZIP_WINDOW) if encoding == "gzip" else None
    body, sent_bytes = bytearray(), 0
    async for chunk in response.aiter_stream():
        sent_bytes += len(chunk)
        body += chunk if gunzip is None else _inflated(gunzip, chunk, max_bytes + 1 - len(body))
        if max(sent_bytes, len(body)) > max_bytes:
            raise OutboundAnswerRefused(f"the answer is larger than {max_bytes} bytes")
    if gunzip is not None and (not gunzip.eof or gunzip.unused_data):
        raise OutboundAnswerRefused("the answer's gzip stream is cut off, or more follows it")
    return bytes(body)


def _inflated(gunzip: zlib._Decompress, chunk: bytes, max_bytes: int) -> bytes:
    try:
        return gunzip.decompress(chunk, max_bytes)
    except zlib.error as error:
        raise OutboundAnswerRefused("the answer is not the gzip stream that it claims to be") from error
