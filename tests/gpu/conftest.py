from pathlib import Path

import pytest
import torch

from tests.engine.oracle.support.checkpoints import ADAPTERS, FAMILIES
from tests.engine.oracle.support.world import World, make_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", params=FAMILIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return make_world(request.param, tmp_path_factory.mktemp(request.param), ADAPTERS, device="cuda")
