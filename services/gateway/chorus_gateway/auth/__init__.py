"""Who asks: API keys, and the cache that stands before the database."""

from chorus_gateway.auth.addresses import Network, TrustedProxies, parse_network, parse_networks
from chorus_gateway.auth.authenticator import Authenticator, StoredKey
from chorus_gateway.auth.events import AuthEvents
from chorus_gateway.auth.keys import ApiKey, generate_key, parse_key
from chorus_gateway.auth.last_used import LastUsed, Use

__all__ = [
    "ApiKey",
    "AuthEvents",
    "Authenticator",
    "LastUsed",
    "Network",
    "StoredKey",
    "TrustedProxies",
    "Use",
    "generate_key",
    "parse_key",
    "parse_network",
    "parse_networks",
]
