"""Adapters on their way from the store to the engine's host memory.

`AdapterSupply` decides, on the loop's thread, what is fetched and what `HostCache` keeps in the spans of a `Region`.
`AdapterFetcher` has it brought, on the event loop, by a `loader` process: that fetches the two files of a digest,
hashes, checks and converts them while they come, and writes the values where the engine says.
"""

from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.convert import Layout, convert
from chorus_engine.adapters.eviction import make_policy
from chorus_engine.adapters.fetcher import AdapterFetcher
from chorus_engine.adapters.host import AdapterFiles, HostAdapter
from chorus_engine.adapters.loader import Hello, LoaderClient, LoaderProcess
from chorus_engine.adapters.region import Region
from chorus_engine.adapters.supply import AdapterSupply
from chorus_engine.adapters.tier import HostTier

__all__ = [
    "AdapterFetcher",
    "AdapterFiles",
    "AdapterSupply",
    "Hello",
    "HostAdapter",
    "HostCache",
    "HostTier",
    "Layout",
    "LoaderClient",
    "LoaderProcess",
    "Region",
    "convert",
    "make_policy",
]
