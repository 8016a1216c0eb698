"""What runs next: a pure machine over values. It never sees a tensor, a socket or a clock."""

from chorus_engine.scheduler.scheduler import Scheduler

__all__ = ["Scheduler"]
