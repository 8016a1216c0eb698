"""A model's way through a step, with the adapters that it reads: the CPU's or CUDA's."""

from dataclasses import dataclass, replace

from chorus_engine.core.request import MAX_SPECULATION
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel
from chorus_engine.model.attention import AttentionBackend
from chorus_engine.model.lora import lora_sites, outer_sites
from chorus_engine.runner.adapters import AdapterPool, AdapterSource
from chorus_engine.runner.allocation import asked_for
from chorus_engine.runner.device_network import DeviceNetwork
from chorus_engine.runner.device_pool import DevicePool
from chorus_engine.runner.draft_model import DraftModel, Guess
from chorus_engine.runner.host_network import HostNetwork
from chorus_engine.runner.host_pool import HostPool
from chorus_engine.runner.kv_cache import KvCache
from chorus_engine.runner.network import Network
from chorus_engine.runner.rows import RowTable


@dataclass(frozen=True, slots=True)
class Way:
    eager: bool  # no CUDA graphs
    attention: AttentionBackend  # the CPU's
    paged_kernels: bool | None  # CUDA's way, as is usual on CUDA alone
    runs: int = 1  # times that a step goes through the model


def make_network(
    model: LoadedModel, capacity: Capacity, cache: KvCache, rows: RowTable, adapters: AdapterSource, way: Way
) -> tuple[AdapterPool, Network]:
    """Raises StartError when memory does not hold the capacity's adapters."""
    config, device = model.decoder.config, model.device
    sites = lora_sites(config) | (outer_sites(config) if capacity.vocab_pages else {})
    arguments = (sites, config.num_layers, capacity, adapters, model.dtype, device)
    room = asked_for(
        f"{capacity.max_adapters} adapter slots",
        "lower CHORUS_MAX_ADAPTERS, CHORUS_MAX_VOCAB_ADAPTERS or CHORUS_MAX_LORA_RANK",
    )
    if device.type == "cuda" if way.paged_kernels is None else way.paged_kernels:
        with room:
            pool = DevicePool(*arguments)
        return pool, DeviceNetwork(model, capacity, cache, rows, pool, eager=way.eager, runs=way.runs)
    with room:
        host_pool = HostPool(*arguments)
    return host_pool, HostNetwork(model, capacity, cache, rows, host_pool, way.attention)


def make_draft_model(
    model: LoadedModel, capacity: Capacity, rows: RowTable, adapters: AdapterSource, way: Way, guess: Guess
) -> DraftModel:
    """capacity, rows: of the model that is served. guess: as DraftModel's. Raises StartError."""
    own = replace(capacity, max_adapters=0, adapter_pages=0, vocab_pages=0, max_verified=0)
    cache = KvCache(model.decoder.config, own, model.dtype, model.device)
    base = rows.without_adapters()
    _, network = make_network(model, own, cache, base, adapters, replace(way, runs=1 + MAX_SPECULATION))
    return DraftModel(model, network, cache, base, own, guess)
