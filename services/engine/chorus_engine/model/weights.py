"""The tensors of a Hugging Face checkpoint by name, from one file or from shards."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chorus_engine.core.errors import StartError
from chorus_engine.model.config import read_json

IGNORED = ("rotary_emb.inv_freq", "lm_head.weight")  # derived from the config; unread when the head is tied

Fetch = Callable[[str, tuple[int, ...]], Tensor]  # (name, shape) → that tensor in the model's dtype, on its device


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint, sorted by name. Raises StartError when there are none."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        files = tuple(folder / Path(name).name for name in names)
    else:
        files = (folder / "model.safetensors",)
    for file in files:
        if not file.is_file():
            raise StartError(f"{file} does not exist; give a folder with safetensors weights or load_format=dummy.")
    return files


@contextmanager
def checkpoint(folder: Path, dtype: torch.dtype, device: torch.device) -> Iterator[Fetch]:
    """Fetches tensors from a checkpoint's files; afterwards refuses a checkpoint with tensors that nobody asked for."""
    with ExitStack() as stack:
        found = {}
        for path in weight_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
            except (SafetensorError, OSError) as error:
                raise StartError(f"{path} cannot be read: {error}.") from None
            found.update(dict.fromkeys(file.keys(), file))
        unread = set(found)

        def fetch(name: str, shape: tuple[int, ...]) -> Tensor:
            if name not in found:
                raise StartError(f"{folder} has no tensor {name}; use a complete checkpoint.")
            tensor: Tensor = found[name].get_tensor(name)
            if tensor.shape != shape:
                raise StartError(f"{name} in {folder} is {list(tensor.shape)}; its config.json makes it {list(shape)}.")
            unread.discard(name)
            return tensor.to(dtype)

        yield fetch
        _refuse_unread(folder, unread)


def _refuse_unread(folder: Path, unread: set[str]) -> None:
    surprising = sorted(name for name in unread if not name.endswith(IGNORED))
    if surprising:
        raise StartError(f"{folder} has tensors that its architecture does not know: {', '.join(surprising[:3])}.")


@contextmanager
def dummy(dtype: torch.dtype, device: torch.device, seed: int) -> Iterator[Fetch]:
    """Random weights of a trained model's size, the same for the same seed and order of fetching."""
    generator = torch.Generator(device).manual_seed(seed)

    def fetch(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("norm.weight"):
            return torch.ones(shape, dtype=dtype, device=device)
        return torch.empty(shape, dtype=dtype, device=device).normal_(0, 0.02, generator=generator)

    yield fetch
