"""Adapters on a volume, as a store would have put them there, and who tells an engine's loader where each of them is.

usage: python -m benchmarks.gpu.volume FOLDER

Serves `Locate` for the folder's index on a free port, which it says first, until its standard input ends.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from safetensors.torch import save

from chorus_engine.adapters import HostAdapter
from chorus_proto.adapters.v1 import adapters_pb2 as pb

SERVICE = "chorus.adapters.v1.AdapterStore"
INDEX = "index.json"  # digest -> its files
Files = Sequence[dict[str, Any]]  # fields of FileBegin


class Volume:
    """The engine's side: writes adapters, and runs the process that knows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: dict[str, Files] = {}
        command = [sys.executable, "-m", "benchmarks.gpu.volume", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = f"127.0.0.1:{int(self._process.stdout.readline())}"

    def add(self, adapter: HostAdapter) -> str:
        """Its digest as uploaded, which is not the drawn one's."""
        config, weights = _config(adapter), _weights(adapter)
        files = [self._put("adapter_config.json", config), self._put("adapter_model.safetensors", weights)]
        parts = b"".join(bytes.fromhex(each["sha256"]) for each in files)
        digest = hashlib.sha256(parts).hexdigest()
        self._index[digest] = files
        return digest

    def publish(self) -> None:
        """What was added can be located from now on."""
        (self.folder / INDEX).write_text(json.dumps(self._index))

    def _put(self, name: str, data: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.folder / "sha256" / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"file": name, "size": len(data), "sha256": sha256}


def _config(adapter: HostAdapter) -> bytes:
    modules = sorted({path.rpartition(".")[2] for _, path, _ in adapter.footprint.ranks})
    rank = adapter.footprint.ranks[0][2]
    return json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": modules}).encode()


def _weights(adapter: HostAdapter) -> bytes:
    tensors = {}
    for (layer, path), (a, b) in adapter.weights.modules.items():
        name = f"base_model.model.model.layers.{layer}.{path}"
        tensors[f"{name}.lora_A.weight"] = a.contiguous()
        tensors[f"{name}.lora_B.weight"] = b.T.contiguous()
    return save(tensors)


def main(folder: Path) -> None:
    """Anyone on this machine may ask."""

    def locate(request: pb.LocateRequest, context: grpc.ServicerContext) -> pb.LocateResponse:
        files: Files = json.loads((folder / INDEX).read_text())[request.digest]
        return pb.LocateResponse(files=[pb.FileBegin(**each) for each in files])

    handler = grpc.unary_unary_rpc_method_handler(
        locate, pb.LocateRequest.FromString, pb.LocateResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Locate": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
