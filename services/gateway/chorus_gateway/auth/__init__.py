"""Who asks: API keys, and the cache that stands before the database."""

from chorus_gateway.auth.authenticator import Authenticator, StoredKey
from chorus_gateway.auth.events import AuthEvents
from chorus_gateway.auth.keys import ApiKey, generate_key, parse_key

__all__ = ["ApiKey", "AuthEvents", "Authenticator", "StoredKey", "generate_key", "parse_key"]
