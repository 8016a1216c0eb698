"""Adapters on their way from the store to the engine's host memory.

`AdapterFetcher` is what the engine asks; `StoreClient` reads the two files of a digest, `convert` makes them a
`HostAdapter`, `HostCache` keeps it within a bound of bytes.
"""

from chorus_engine.adapters.cache import HostCache
from chorus_engine.adapters.convert import Layout, convert
from chorus_engine.adapters.fetcher import AdapterFetcher
from chorus_engine.adapters.host import AdapterFiles, HostAdapter
from chorus_engine.adapters.store import StoreClient
from chorus_engine.adapters.supply import AdapterSupply

__all__ = [
    "AdapterFetcher",
    "AdapterFiles",
    "AdapterSupply",
    "HostAdapter",
    "HostCache",
    "Layout",
    "StoreClient",
    "convert",
]
