import pytest

from chorus_engine.runner.graphs import ROW_BUCKETS, GraphSize, GraphSizes


@pytest.mark.parametrize("max_rows", [1, 3, 16, 100, 255, 256])
def test_every_decode_step_has_a_graph(max_rows: int) -> None:
    sizes = GraphSizes(max_rows, lora=True)
    captured = set(sizes.all())
    for rows in range(1, max_rows + 1):
        for tiles in range(rows + 1):
            size = sizes.holding(rows, tiles)
            assert size in captured
            assert rows <= size.rows <= max_rows
            assert tiles <= size.tiles
            assert (tiles == 0) == (size.tiles == 0)


def test_more_rows_than_the_largest_graph_are_launched_eagerly() -> None:
    sizes = GraphSizes(1000, lora=True)
    assert sizes.holding(ROW_BUCKETS[-1], 0) == GraphSize(ROW_BUCKETS[-1], 0)
    assert sizes.holding(ROW_BUCKETS[-1] + 1, 0) is None


def test_their_number_is_bounded_and_the_largest_come_first() -> None:
    sizes = GraphSizes(256, lora=True).all()
    assert len(sizes) < 80
    assert sizes == sorted(sizes, reverse=True)
    assert not [size for size in GraphSizes(256, lora=False).all() if size.tiles]
