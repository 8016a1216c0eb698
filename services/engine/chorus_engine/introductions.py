"""How the engine introduces itself: to gateways, to the registry, and to its loader."""

import time

from chorus_engine.adapters import Hello, Layout
from chorus_engine.config import Settings
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel
from chorus_engine.presence import Registration
from chorus_engine.rpc import Credentials, Description


def describe(engine_id: str, settings: Settings, model: LoadedModel, capacity: Capacity) -> Description:
    return Description(
        engine_id,
        model.spec,
        capacity.max_model_len,
        capacity.max_num_seqs,
        settings.max_lora_rank if capacity.max_adapters else 0,  # without slots it can hold none
        model.whole.result() if model.whole is not None else {},
    )


def register(description: Description, address: str) -> Registration:
    return Registration(
        engine_id=description.engine_id,
        address=address,
        model=description.spec.name,
        model_digest=description.spec.digest,
        started_at=time.time(),
        max_num_seqs=description.max_num_seqs,
        max_lora_rank=description.max_lora_rank,
        outer_modules=tuple(module.path for module in description.spec.outer_modules),
    )


def greet_loader(settings: Settings, layout: Layout, credentials: Credentials) -> Hello:
    return Hello.of(
        layout,
        store_address=settings.store_address,
        token=settings.service_token.get_secret_value(),
        roots=None if credentials.roots is None else credentials.roots.decode(),
        volume=None if settings.adapter_volume is None else str(settings.adapter_volume),
    )
