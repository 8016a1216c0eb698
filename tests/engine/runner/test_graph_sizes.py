import pytest

from chorus_engine.runner.graph_sizes import (
    ADAPTER_PROMPT_BUCKETS,
    FEW_TOKENS,
    PROMPT_BUCKETS,
    ROW_BUCKETS,
    DecodeSizes,
    GraphSize,
    Layout,
    PromptSizes,
)


@pytest.mark.parametrize("max_rows", [1, 3, 16, 100, 255, 256])
def test_every_decode_step_has_a_graph(max_rows: int) -> None:
    sizes = DecodeSizes(max_rows, lora=True)
    captured = set(sizes.all())
    for rows in range(1, max_rows + 1):
        for tiles in range(rows + 1):
            size = sizes.holding(rows, tiles)
            assert size in captured
            assert rows <= size.tokens == size.singles <= max_rows
            assert tiles <= size.tiles
            assert (tiles == 0) == (size.tiles == 0)


def test_more_rows_than_the_largest_graph_are_launched_eagerly() -> None:
    sizes = DecodeSizes(1000, lora=True)
    assert sizes.holding(ROW_BUCKETS[-1], 0) == GraphSize(ROW_BUCKETS[-1], 0, ROW_BUCKETS[-1])
    assert sizes.holding(ROW_BUCKETS[-1] + 1, 0) is None


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("max_rows", [1, 20, 256, 1000])
def test_steps_with_few_prompt_tokens_have_a_graph(max_rows: int, lora: bool) -> None:
    sizes = PromptSizes(8192, max_rows, 32, lora=True)
    captured = set(sizes.all())
    most = ADAPTER_PROMPT_BUCKETS[-1] if lora else PROMPT_BUCKETS[-1]
    for tokens in range(2, most + 1, 3):
        for singles in {0, min(7, tokens - 2, max_rows - 1), min(tokens - 2, max_rows - 1, 255)}:
            layout = sizes.layout(tokens, singles, lora=lora)
            tiles = (singles + -(-(tokens - singles) // layout.lora_tile)) if lora else 0  # each has its own adapter
            queries = -(-(tokens - singles) // 32)
            size = sizes.holding(layout, tiles, queries)
            assert size in captured
            assert (size.tokens, size.singles) == (layout.tokens, layout.singles)
            assert tokens <= size.tokens
            assert singles <= size.singles
            assert tiles <= size.tiles
            assert queries <= size.queries
            assert (tiles == 0) == (size.tiles == 0)


def test_other_steps_with_prompts_are_launched_eagerly() -> None:
    sizes = PromptSizes(8192, 1000, 32, lora=True)
    assert sizes.layout(1025, 3, lora=True) == Layout(1088, 3)
    assert sizes.holding(Layout(1088, 3), 20, 34) is None
    assert sizes.layout(FEW_TOKENS + 1, 3, lora=False) == Layout(320, 3)
    assert sizes.holding(Layout(320, 3), 0, 12) is None
    assert sizes.layout(380, 300, lora=True) == Layout(384, 300)
    assert sizes.holding(Layout(384, 300), 3, 12) is None
    assert sizes.holding(Layout(64, 8), 3, 40) is None


def test_no_graph_holds_more_tokens_than_a_step_may_have() -> None:
    sizes = PromptSizes(100, 8, 32, lora=True)
    assert {size.tokens for size in sizes.all()} == {32, 64}
    assert sizes.layout(90, 2, lora=True) == Layout(128, 2)


def test_their_number_is_bounded() -> None:
    assert len(DecodeSizes(256, lora=True).all()) < 80
    assert len(PromptSizes(8192, 256, 32, lora=True).all()) < 80
    assert not [size for size in DecodeSizes(256, lora=False).all() if size.tiles]
    assert not [size for size in PromptSizes(8192, 256, 32, lora=False).all() if size.tiles]
