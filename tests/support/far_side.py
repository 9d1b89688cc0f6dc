"""A TLS server on loopback, proven by an authority of the test: the far side of what goes out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority and the certificate that it gave to one name."""

    ca_file: Path
    chain_file: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS of a server that proves the name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain_file)
        return context


def make_authority(folder: Path, name: str) -> Authority:
    """Make an authority, and a certificate and key for `name`, in `folder`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the test")])
    ca = _certificate(ca_name, ca_name, ca_key.public_key(), ca_key, x509.BasicConstraints(ca=True, path_length=0))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    leaf = _certificate(subject, ca_name, key.public_key(), ca_key, x509.SubjectAlternativeName([x509.DNSName(name)]))
    made = Authority(folder / "ca.pem", folder / "chain.pem")
    made.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made.chain_file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    return made


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256())


@dataclass(slots=True)
class FarSide:
    """What listens: its port, what each path says, and every request head that arrived."""

    port: int = 0
    says: dict[str, Speak] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            await self.says[head.split(" ")[1]](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client has seen enough, which is what some tests want
        finally:
            writer.close()


@asynccontextmanager
async def far_side(context: ssl.SSLContext | None) -> AsyncIterator[FarSide]:
    """Listen on a free port of 127.0.0.1 while the block runs; without TLS where there is no `context`."""
    side = FarSide()
    server = await asyncio.start_server(side.serve, "127.0.0.1", 0, ssl=context)
    side.port = server.sockets[0].getsockname()[1]
    try:
        yield side
    finally:
        server.close()


def saying(body: bytes, *, status: str = "200 OK", headers: str = "") -> Speak:
    """Say one whole answer."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return speak
