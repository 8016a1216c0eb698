"""One upload, all of its checks in order."""

from pathlib import Path

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate.finite import check_finite
from chorus_adapter_store.validate.header import read_header
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.lora_config import parse_config
from chorus_adapter_store.validate.targets import find_targets
from chorus_adapter_store.validate.tensors import check_tensors
from chorus_adapter_store.validate.whole import check_whole, set_apart
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts, BaseSpec


def check_adapter(config: Path, weights: Path, base: BaseSpec, limits: Limits) -> AdapterFacts:
    """Check the two files of an adapter against its base.

    A pure function of files and picklable values, so that it can run in a thread or in a process of its own.
    Raises InvalidArgument for what the uploader must change, OSError when the disk fails.
    """
    sizes = limits.sizes(base)
    _check_size(CONFIG_FILE, config.stat().st_size, sizes[CONFIG_FILE])
    _check_size(WEIGHTS_FILE, weights.stat().st_size, sizes[WEIGHTS_FILE])
    # The header comes first: whatever else is wrong, nothing is read from a file whose layout is not sound.
    with weights.open("rb") as file:
        tensors = read_header(file, weights.stat().st_size, limits)
        targets = find_targets(parse_config(config.read_bytes(), limits), base, limits)
        own, lora = set_apart(tensors)
        check_whole(file, own, base)
        found = check_tensors(lora, targets, base)
        check_finite(file, lora)
    return AdapterFacts(rank=max(target.rank for target in found), modules=tuple(target.name for target in found))


def _check_size(field: str, size: int, limit: int) -> None:
    if size == 0:
        raise InvalidArgument(field, "the file is empty")
    if size > limit:
        raise InvalidArgument(field, f"the file has {size} bytes, more than the {limit} allowed")
