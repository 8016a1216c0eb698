"""A real engine in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "the-token-of-all-services"


@dataclass
class EngineProcess:
    """Waits for the line that says where it serves; keeps every log line."""

    model: Path
    folder: Path
    store_address: str = "127.0.0.1:1"
    redis_url: str = "redis://127.0.0.1:1/0"
    environment: dict[str, str] = field(default_factory=dict)
    module: str = "chorus_engine"
    lines: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    metrics_port: int = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            env={**os.environ, **self._settings(), **self.environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._serving.wait(60), "the engine does not answer"
        assert self.address, f"the engine ended: {self.lines}"

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(20)
        finally:
            self.process.kill()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _settings(self) -> dict[str, str]:
        return {
            "CHORUS_MODEL": str(self.model),
            "CHORUS_SERVED_MODEL_NAME": "tiny",
            "CHORUS_DEVICE": "cpu",
            "CHORUS_NUM_THREADS": "1",
            "CHORUS_ENGINE_PORT": "0",
            "CHORUS_ENGINE_METRICS_PORT": "0",
            "CHORUS_ENGINE_CACHE_DIR": str(self.folder),
            "CHORUS_SERVICE_TOKEN": TOKEN,
            "CHORUS_STORE_ADDRESS": self.store_address,
            "CHORUS_REDIS_URL": self.redis_url,
            "CHORUS_KV_CACHE_MEMORY": "0.05",
            "CHORUS_MAX_NUM_SEQS": "4",
        }

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line: dict[str, Any] = json.loads(text) if text.startswith("{") else {"message": text}
            self.lines.append(line)
            if line["message"] == "serving":
                self.address, self.metrics_port = line["address"], line["metrics_port"]
                self._serving.set()
        self._serving.set()
