"""The engine's loop: one thread that schedules, launches and commits, and what others may ask of it."""

from chorus_engine.loop.loop import EngineLoop
from chorus_engine.loop.parts import News
from chorus_engine.loop.progress import Progress, Pulse

__all__ = ["EngineLoop", "News", "Progress", "Pulse"]
