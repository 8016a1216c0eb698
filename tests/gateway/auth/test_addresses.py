import pytest

from chorus_gateway.auth import TrustedProxies, parse_network, parse_networks
from chorus_gateway.auth.addresses import UNKNOWN, contains, parse_address

PROXIES = TrustedProxies(parse_networks("10.0.0.0/8, 2001:db8:1::/48"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # whoever is no proxy of ours may write what it likes
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # 1.1.1.1 was written by the client
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all are ours: the first of them asks
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8:2::1]:4711", "2001:db8:2::1"),
        ("10.0.0.1", '"[2001:db8:2::1]"', "2001:db8:2::1"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("2001:db8:1::7", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, unknown", UNKNOWN),  # our proxy did not know, so nobody does
        ("10.0.0.1", "198.51.100.1,", UNKNOWN),
        ("/run/gateway.sock", "198.51.100.1", UNKNOWN),
        ("", "", UNKNOWN),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(peer: str, forwarded: str, client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_without_trusted_proxies_nothing_that_a_client_sends_counts() -> None:
    assert TrustedProxies().client("203.0.113.9", "10.0.0.1") == "203.0.113.9"


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
        ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
        ("203.0.113.9", "203.0.113.9", "203.0.113.8"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("::/0", "2001:db8::1", "10.0.0.1"),  # of IPv6 alone
        ("0.0.0.0/0", "10.0.0.1", "2001:db8::1"),
    ],
)
def test_networks(network: str, inside: str, outside: str) -> None:
    networks = (parse_network(network),)
    assert contains(networks, parse_address(inside))
    assert not contains(networks, parse_address(outside))
    assert not contains(networks, parse_address("nonsense"))
    assert not contains((), parse_address(inside))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0", "1" * 64, "::1/129"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=text[:5]):
        parse_network(text)
