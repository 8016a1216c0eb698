"""The process that brings adapters: `LoaderProcess` starts it, `LoaderClient` asks it, `child` is what runs in it."""

from chorus_engine.adapters.loader.client import LoaderClient, Refused
from chorus_engine.adapters.loader.process import LoaderProcess
from chorus_engine.adapters.loader.wire import Hello

__all__ = ["Hello", "LoaderClient", "LoaderProcess", "Refused"]
