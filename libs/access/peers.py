"""Which address a request comes from, also behind proxies, where the operator names them (MAESTRO_TRUSTED_PROXIES)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

MAX_HOPS: Final = 32  # of an X-Forwarded-For: more is not looked at
UNKNOWN: Final = "unknown"
_SUBSCRIBER_BITS: Final = 64  # one IPv6 subscriber has at least such a network (RFC 6177): its addresses count as one


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the client's address, an IPv6 one as its /64; UNKNOWN for a peer without one (a Unix socket).

    `forwarded` are the X-Forwarded-For headers: they are believed only as far as trusted proxies wrote them, from the
    right; what a client put there itself is to the left of what its proxy added.
    """
    address = _address(peer or "")
    if address is None:
        return UNKNOWN
    for hop in reversed(",".join(forwarded).split(",")[-MAX_HOPS:]):
        before = _address(hop.strip())
        if before is None or not any(address in network for network in trusted):
            break
        address = before
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _SUBSCRIBER_BITS), strict=False))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
