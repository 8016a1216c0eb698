from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

DEMO = Path(__file__).parents[2] / "examples" / "demo"


@pytest.fixture(scope="session")
def demo() -> Path:
    return DEMO


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded = PreTrainedTokenizerFast.from_pretrained(DEMO / "model")
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded
