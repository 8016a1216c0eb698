"""What Redis knows of this engine, and what it asks of it."""

from chorus_engine.presence.holdings import Holdings
from chorus_engine.presence.records import Registration
from chorus_engine.presence.registry import Registry

__all__ = ["Holdings", "Registration", "Registry"]
