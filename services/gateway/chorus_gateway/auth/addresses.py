"""Where a request comes from, and whether a key may be used from there."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
UNKNOWN = ""  # the address of nobody: it is in no network


def parse_network(text: str) -> Network:
    """A network in CIDR form, or one address. An IPv4 network written inside IPv6 is the IPv4 one. ValueError."""
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated. ValueError."""
    return tuple(parse_network(part.strip()) for part in text.split(",") if part.strip())


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """As proxies write it: maybe with a port, in brackets, or IPv4 inside IPv6. None when it is no address."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def contains(networks: Iterable[Network], address: Address | None) -> bool:
    return address is not None and any(address in network for network in networks)


class TrustedProxies:
    """Believes in `x-forwarded-for` only what proxies of the operator's own wrote there."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client(self, peer: str, forwarded: str) -> str:
        """The address that a request came from: `peer`, or for a trusted peer the last address of `forwarded` (the
        header's lines joined by commas) that no trusted proxy has. UNKNOWN where a trusted proxy wrote no address."""
        address = parse_address(peer)
        hops = forwarded.split(",") if forwarded.strip() else []
        while hops and contains(self._networks, address):
            address = parse_address(hops.pop())
        return UNKNOWN if address is None else str(address)
