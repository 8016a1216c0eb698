"""Adapters from folders, kept in host memory for as long as the engine lives."""

from collections.abc import Mapping
from pathlib import Path

from chorus_engine.adapters import AdapterFiles, HostAdapter, Layout, convert
from chorus_engine.adapters.host import CONFIG_FILE, MODEL_FILE, Weights
from chorus_engine.core.errors import AdapterUnusable
from chorus_engine.model import LoadedModel

MOST_RANK = 1024  # of an adapter


class Shelf:
    """The runner's source of adapters. Two names of the same bytes are one adapter."""

    def __init__(self, folders: Mapping[str, Path], model: LoadedModel) -> None:
        """Raises AdapterUnusable with the folder and what is wrong in it."""
        layout = Layout(model.spec, model.dtype, MOST_RANK)
        self._adapters: dict[str, HostAdapter] = {}  # by digest
        self._digests: dict[str, str] = {}  # by name
        for name, folder in folders.items():
            files = _read(folder)
            digest = self._digests[name] = files.digest()
            if digest not in self._adapters:
                self._adapters[digest] = _converted(folder, digest, files, layout, pinned=model.device.type == "cuda")

    def get(self, digest: str) -> Weights:
        return self._adapters[digest].weights

    def digest(self, name: str) -> str:
        if name not in self._digests:
            known = ", ".join(sorted(self._digests)) or "none"
            raise AdapterUnusable(f"there is no adapter {name!r}; this LLM has {known}.")
        return self._digests[name]

    @property
    def adapters(self) -> tuple[HostAdapter, ...]:
        return tuple(self._adapters.values())

    @property
    def largest_rank(self) -> int:
        return max((rank for adapter in self.adapters for _, _, rank in adapter.footprint.ranks), default=0)


def _read(folder: Path) -> AdapterFiles:
    for name in (CONFIG_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise AdapterUnusable(f"{folder} has no {name}; give a folder as peft's save_pretrained writes it.")
    return AdapterFiles((folder / CONFIG_FILE).read_bytes(), (folder / MODEL_FILE).read_bytes())


def _converted(folder: Path, digest: str, files: AdapterFiles, layout: Layout, *, pinned: bool) -> HostAdapter:
    try:
        return convert(digest, files, layout, pinned=pinned)
    except AdapterUnusable as error:
        raise AdapterUnusable(f"{folder}: {error}") from error
