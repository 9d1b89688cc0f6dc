"""Which addresses a process of ours may connect to at somebody's word: public ones, and what the operator allows.

A URL that a customer or an identity provider names must not reach what only we can reach: loopback, the private
network, a cloud's metadata service, or one of those dressed as IPv6.
Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 4291, RFC 6052, RFC 6598.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NETWORKS_OF_KIND: Final = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "shared by carriers (CGNAT)": ("100.64.0.0/10",),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "IPv4 mapped into IPv6": ("::ffff:0:0/96",),
    "IPv4 translated (NAT64)": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "IPv4 tunnelled in IPv6": ("2002::/16", "2001::/32", "::/96"),
    "reserved": ("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
    "reserved (IPv6)": ("100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16"),
}
_REFUSED: Final = tuple((kind, ip_network(text)) for kind, texts in _NETWORKS_OF_KIND.items() for text in texts)


def kind_of(address: Address) -> str | None:
    """Return why `address` is not one of the public internet, in a word or two; None where it is."""
    for kind, network in _REFUSED:
        if address in network:
            return kind
    return None if address.is_global else "not global"


def refusal(text: str, allowed: Iterable[Network]) -> str | None:
    """Return the kind of the address `text` where it is refused, None where it may be connected to.

    An address that the operator allows is allowed only in the form allowed: 127.0.0.0/8 does not open ::ffff:127.0.0.1.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"  # a zone (fe80::1%eth0) means an interface of this machine
    return None if any(address in network for network in allowed) else kind_of(address)
