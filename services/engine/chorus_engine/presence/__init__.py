"""What Redis knows of this engine."""

from chorus_engine.presence.holdings import merge
from chorus_engine.presence.presence import Presence
from chorus_engine.presence.records import Held, Registration
from chorus_engine.presence.redis_url import connect

__all__ = ["Held", "Presence", "Registration", "connect", "merge"]
