"""From a checkpoint's folder to a decoder on a device."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from chorus_engine.core.errors import StartError
from chorus_engine.core.spec import LinearModule, ModelSpec
from chorus_engine.model.build import build
from chorus_engine.model.config import ModelConfig, read_config
from chorus_engine.model.decoder import Decoder
from chorus_engine.model.digest import BaseDigest, Remembered, base_digest
from chorus_engine.model.lora import Site, lora_sites, outer_sites
from chorus_engine.model.weights import checkpoint, dummy, weight_files
from chorus_engine.model.whole import WholeDigests

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LOAD_FORMATS = ("auto", "safetensors", "dummy")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    spec: ModelSpec
    decoder: Decoder
    dtype: torch.dtype
    device: torch.device
    remembered: tuple[Remembered, ...] = ()  # files that the digest was not computed from at this start
    whole: WholeDigests | None = None  # under way; None where adapters bring no matrices of the base


def load(
    folder: Path,
    *,
    name: str,
    device: torch.device,
    dtype: str = "auto",
    load_format: str = "auto",
    max_model_len: int | None = None,
    digest_cache: Path | None = None,
    seed: int = 0,
    outer_lora: bool = True,
) -> LoadedModel:
    """Reads the checkpoint in `folder`, to be served under `name`.

    dtype: "auto" is the checkpoint's on CUDA and float32 on CPU. load_format: "dummy" draws weights from `seed` and
    needs config.json alone. max_model_len: None is the checkpoint's limit. outer_lora: whether adapters may have
    modules outside the layers. Raises StartError.
    """
    config = read_config(folder)
    positions = _positions(config, max_model_len)
    torch_dtype = choose_dtype(dtype, config, device)
    if load_format not in LOAD_FORMATS:
        raise StartError(f"load_format={load_format!r} is unknown; use one of {', '.join(LOAD_FORMATS)}.")
    if load_format == "dummy":
        whole, digest = None, BaseDigest(_dummy_digest(folder, seed))
        source = dummy(torch_dtype, device, seed)
    else:
        whole = WholeDigests(folder, tied=config.tied_head, cache=digest_cache) if outer_lora else None
        digest = base_digest(folder / "config.json", weight_files(folder), digest_cache)
        source = checkpoint(folder, torch_dtype, device)
    with source as fetch:
        decoder = build(config, fetch, positions, torch_dtype, device)
    spec = _spec(config, name, digest.value, torch_dtype, outer_lora=outer_lora)
    return LoadedModel(spec, decoder, torch_dtype, device, digest.remembered, whole)


def choose_dtype(dtype: str, config: ModelConfig, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        dtype = config.dtype if device.type == "cuda" else "float32"
    if dtype not in DTYPES:
        raise StartError(f"dtype={dtype!r} is not supported; use one of auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _positions(config: ModelConfig, max_model_len: int | None) -> int:
    limit = config.max_position_embeddings
    if max_model_len is not None and not 1 <= max_model_len <= limit:
        raise StartError(f"max_model_len={max_model_len} is outside the model's range; use 1 to {limit}.")
    return max_model_len or limit


def _dummy_digest(folder: Path, seed: int) -> str:
    config = (folder / "config.json").read_bytes()
    return hashlib.sha256(hashlib.sha256(config).digest() + f"dummy weights of seed {seed}".encode()).hexdigest()


def _spec(config: ModelConfig, name: str, digest: str, dtype: torch.dtype, *, outer_lora: bool) -> ModelSpec:
    return ModelSpec(
        name=name,
        digest=digest,
        architecture=config.architecture,
        dtype=str(dtype).removeprefix("torch."),
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        modules=_modules(lora_sites(config)),
        max_position_embeddings=config.max_position_embeddings,
        eos_token_ids=config.eos_token_ids,
        outer_modules=_modules(outer_sites(config)) if outer_lora else (),
    )


def _modules(sites: Mapping[Site, tuple[LinearModule, ...]]) -> tuple[LinearModule, ...]:
    return tuple(module for modules in sites.values() for module in modules)
