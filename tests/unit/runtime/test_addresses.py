from __future__ import annotations

from ipaddress import ip_network

import pytest

from libs.runtime.addresses import refusal


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.9", "unspecified"),
        ("::", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("fd12::1", "private"),
        ("fec0::1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("100.64.0.1", "shared by carriers (CGNAT)"),
        ("100.127.255.255", "shared by carriers (CGNAT)"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("::ffff:127.0.0.1", "IPv4 mapped into IPv6"),
        ("::ffff:8.8.8.8", "IPv4 mapped into IPv6"),
        ("64:ff9b::7f00:1", "IPv4 translated (NAT64)"),
        ("64:ff9b:1::a00:1", "IPv4 translated (NAT64)"),
        ("2002:7f00:1::", "IPv4 tunnelled in IPv6"),
        ("2001:0:7f00:1::", "IPv4 tunnelled in IPv6"),
        ("::127.0.0.1", "IPv4 tunnelled in IPv6"),
        ("192.0.0.8", "reserved"),
        ("198.19.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("2001:db8::1", "reserved (IPv6)"),
    ],
)
def test_an_address_that_is_not_public_is_refused_by_its_kind(address: str, kind: str) -> None:
    assert refusal(address, ()) == kind


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert refusal(address, ()) is None


def test_an_allowed_network_is_open_in_that_form_only() -> None:
    allowed = (ip_network("127.0.0.0/8"), ip_network("fd00:20::/32"))
    assert [refusal(one, allowed) for one in ("127.0.0.1", "fd00:20::9")] == [None, None]
    assert refusal("::ffff:127.0.0.1", allowed) == "IPv4 mapped into IPv6"
    assert refusal("fd00:21::9", allowed) == "private"
