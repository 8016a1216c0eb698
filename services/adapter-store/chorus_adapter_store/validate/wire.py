"""What the store and its validation processes say to each other: JSON objects, each behind its length in four bytes.

No pickles: a process that a crafted file took over can say nothing that runs here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.validate.adapter import check_adapter
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.values import AdapterFacts, BaseSpec

Message = dict[str, Any]

LENGTH_BYTES = 4
MAX_BYTES = 16 << 20
OUT_OF_MEMORY: Mapping[str, object] = {"out_of_memory": True}


def encode(message: Mapping[str, object]) -> bytes:
    data = json.dumps(message).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def decode_length(data: bytes) -> int:
    """Raises ValueError when no message can be so long."""
    length = int.from_bytes(data, "big")
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes, more than the {MAX_BYTES} allowed")
    return length


def decode(data: bytes) -> Message:
    """Raises ValueError."""
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def task(config: Path, weights: Path, base: BaseSpec, limits: Limits) -> Message:
    return {"config": str(config), "weights": str(weights), "base": asdict(base), "limits": asdict(limits)}


def perform(message: Message) -> Message:
    """Do a task; the answer that `facts` understands. Raises MemoryError."""
    files = Path(message["config"]), Path(message["weights"])
    try:
        found = check_adapter(*files, BaseSpec.of(message["base"]), Limits(**message["limits"]))
    except InvalidArgument as error:
        return {"refused": error.field, "message": str(error).removeprefix(f"{error.field}: ")}
    except OSError as error:
        return {"disk": error.strerror or str(error)}
    return {"rank": found.rank, "modules": found.modules}


def facts(answer: Message) -> AdapterFacts:
    """Raises InvalidArgument or OSError, as `check_adapter` did."""
    if "refused" in answer:
        raise InvalidArgument(str(answer["refused"]), str(answer["message"]))
    if "disk" in answer:
        raise OSError(str(answer["disk"]))
    return AdapterFacts(rank=int(answer["rank"]), modules=tuple(map(str, answer["modules"])))
