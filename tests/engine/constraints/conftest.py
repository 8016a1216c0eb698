from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine.constraints.support.served import Demo

DEMO = Path(__file__).parents[3] / "examples" / "demo"


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    torch.set_num_threads(1)
    made = Demo(DEMO / "model", DEMO / "adapters" / "extract")
    yield made
    made.room.close()
