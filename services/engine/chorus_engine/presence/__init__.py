"""What Redis knows of this engine."""

from chorus_engine.presence.holdings import merge
from chorus_engine.presence.presence import Presence, connect
from chorus_engine.presence.records import Held, Registration

__all__ = ["Held", "Presence", "Registration", "connect", "merge"]
