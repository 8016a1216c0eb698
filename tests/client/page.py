"""Runs what docs/client.md shows, in its order, as one program."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "client.md"


def run_page() -> dict[str, Any]:
    """What the program left. The environment and the folder are the caller's to set."""
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text())
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names
