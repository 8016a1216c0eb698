from pathlib import Path

import pytest
import torch

from tests.engine.oracle.support.checkpoints import ADAPTERS, FAMILIES
from tests.engine.oracle.support.world import World, make_world


@pytest.fixture(scope="session", params=FAMILIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)  # tiny products, and the machine is shared
    folder: Path = tmp_path_factory.mktemp(request.param)
    return make_world(request.param, folder, ADAPTERS)
