"""From settings to a model in memory, with a sentence for each thing that may be missing."""

import importlib.util
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from chorus_engine.adapters import LoaderProcess, Region
from chorus_engine.checkpoint import locate
from chorus_engine.config import GIB, Settings
from chorus_engine.core.errors import StartError
from chorus_engine.core.spec import Capacity
from chorus_engine.model import LoadedModel, load, load_draft
from chorus_engine.rpc import TokenizerBundle, read_bundle
from chorus_engine.runner import RunnerSettings, measure_capacity
from chorus_engine.speculation import Control, NgramProposer, Proposer, Speculator, SuffixProposer, Tally

log = logging.getLogger(__name__)

MAX_VERIFIED = 64  # tokens that a step may draw although fewer requests may run
MOST_THREADS = 16  # a step of a few rows has no work for more, and each waits for the slowest


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is read and measured before the engine serves."""

    model: LoadedModel
    capacity: Capacity
    bundle: TokenizerBundle
    draft: LoadedModel | None = None  # guesses for the model


class HostMemory:
    """Host memory for adapters, and the process that brings them to it."""

    def __init__(self, settings: Settings) -> None:
        """Begins the process's start, which takes as long as a small model's. Raises StartError."""
        self.region = Region.create(int(settings.host_adapter_memory * GIB))
        self._niceness = settings.loader_niceness
        self._pinned = False
        self.first = self.start_loader()

    def start_loader(self) -> LoaderProcess:
        return LoaderProcess(self.region, self._niceness)

    def pin(self, device: torch.device) -> None:
        """For copies to a card that need not wait. Raises StartError."""
        if device.type == "cuda":
            from chorus_engine.adapters import pinning

            pinning.pin(self.region)
            self._pinned = True

    def close(self) -> None:
        """After the last copy."""
        self.first.end()
        if self._pinned:
            from chorus_engine.adapters import pinning

            pinning.unpin(self.region)
        self.region.close()


def load_model(settings: Settings) -> Loaded:
    began = time.monotonic()
    speculation_way(settings)
    device = choose_device(settings)
    folder = locate(settings.model)
    bundle = read_bundle(folder)
    if settings.num_threads or device.type == "cpu":
        torch.set_num_threads(settings.num_threads or default_threads())
    log.info("loading", extra={"model": settings.model, "device": str(device)})
    model = load(
        folder,
        name=settings.name,
        device=device,
        dtype=settings.dtype,
        load_format=settings.load_format,
        max_model_len=settings.max_model_len,
        digest_cache=digest_cache(settings),
        seed=settings.seed,
        outer_lora=settings.max_vocab_adapters > 0 and settings.max_adapters != 0,
    )
    draft = _load_draft(settings, model, folder)
    capacity = measure_capacity(model, runner_settings(settings, device), draft)
    log.info("loaded", extra={"seconds": round(time.monotonic() - began, 2), "kv_blocks": capacity.num_blocks})
    return Loaded(model, capacity, bundle, draft)


def _load_draft(settings: Settings, model: LoadedModel, folder: Path) -> LoadedModel | None:
    if settings.draft_model is None or speculation_way(settings) != "draft":
        return None
    return load_draft(
        locate(settings.draft_model, "CHORUS_DRAFT_MODEL"),
        model,
        folder,
        load_format=settings.load_format,
        digest_cache=digest_cache(settings),
        seed=settings.seed,
    )


def digest_cache(settings: Settings) -> Path:
    return settings.engine_cache_dir / "digests.json"


def choose_device(settings: Settings) -> torch.device:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise StartError(
            "CHORUS_DEVICE=cuda but torch finds no CUDA device; install a driver, or set it to cpu or auto."
        )
    if settings.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if not any(shutil.which(compiler) for compiler in ((settings.cc,) if settings.cc else ("gcc", "cc", "clang"))):
        wanted = f"CC={settings.cc!r} is not there" if settings.cc else "there is no gcc, cc or clang"
        raise StartError(f"CUDA kernels are built with a C compiler and {wanted}; install gcc or set CC.")
    return torch.device("cuda", torch.cuda.current_device())


def default_threads() -> int:
    """Threads of one operation on CPU: a core stays free for the gateway and for the engine's other threads.

    A small model's operations take microseconds and wait for their slowest thread: with one on every core of a machine
    that does anything else, they take several times as long as with one thread alone.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, cores - 1), MOST_THREADS)


def runner_settings(settings: Settings, device: torch.device) -> RunnerSettings:
    cuda = device.type == "cuda"
    pool = settings.adapter_pool_memory
    rows = settings.max_num_seqs or (256 if cuda else 64)
    return RunnerSettings(
        max_num_seqs=rows,
        max_num_batched_tokens=settings.max_num_batched_tokens or max(rows, 8192 if cuda else 512),
        block_size=settings.block_size,
        max_adapters=(64 if cuda else 8) if settings.max_adapters is None else settings.max_adapters,
        max_lora_rank=settings.max_lora_rank,
        max_vocab_adapters=settings.max_vocab_adapters,
        max_model_len=settings.max_model_len,
        num_kv_blocks=settings.num_kv_blocks,
        swap_bytes=int(settings.swap_space * GIB),
        kv_cache_bytes=int(settings.kv_cache_memory * GIB),
        gpu_memory_utilization=settings.gpu_memory_utilization,
        adapter_pool_bytes=None if pool is None else int(pool * GIB),
        max_verified=0 if settings.speculation == "off" else MAX_VERIFIED,
    )


def speculation_way(settings: Settings) -> str:
    """off, ngram, suffix or draft. Raises StartError."""
    way = settings.speculation
    if way == "draft" and settings.draft_model is None:
        raise StartError("CHORUS_SPECULATION=draft needs a model that guesses; set CHORUS_DRAFT_MODEL, or use suffix.")
    if way == "auto":
        return "suffix" if settings.draft_model is None else "draft"
    return way


def make_speculator(settings: Settings, tally: Tally) -> Speculator | None:
    """None where nothing is guessed."""
    proposers: dict[str, Callable[[], Proposer | None]] = {
        "ngram": NgramProposer,
        "suffix": SuffixProposer,
        "draft": lambda: None,  # the runner's
    }
    make = proposers.get(speculation_way(settings))
    return None if make is None else Speculator(make(), Control(settings.speculation_tokens), tally)


def check_free(host: str, port: int, variable: str) -> None:
    """Refuse a busy port before the model is loaded."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"the engine cannot listen on {host}:{port} ({error.strerror}); stop what uses that port or set "
                f"{variable} to another."
            ) from None


def device_utilization(device: torch.device) -> Callable[[], float] | None:
    """NVML's figure, 0 to 1, where there is a card and NVML's Python package."""
    if device.type != "cuda" or importlib.util.find_spec("pynvml") is None:
        return None
    return lambda: torch.cuda.utilization(device) / 100
