"""The kernel benchmark: what it builds, and that it runs where there is no card."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.kernels.__main__ import main, parse
from benchmarks.kernels.adapters import POPULARITY, pool, tile_spans
from benchmarks.kernels.case import World
from benchmarks.workloads import TINY
from chorus_kernels.lora import Tiles, lora_delta

WORLD = World.of(TINY, torch.device("cpu"))


@pytest.mark.parametrize(("name", "groups"), [("identical", 1), ("distinct", 32), ("uniform", 6), ("skewed", 8)])
def test_popularity_shapes(name: str, groups: int) -> None:
    slots = POPULARITY[name](32)
    assert (len(slots), slots[0]) == (32, 0)
    assert slots == sorted(slots)
    assert len(set(slots)) == groups


def test_tiles_cover_every_token_once_inside_one_adapter() -> None:
    assert tile_spans([0] * 20 + [1] * 3 + [2], 16) == [(0, 16, 0), (16, 20, 0), (20, 23, 1), (23, 24, 2)]


def test_a_pool_gives_each_adapter_its_own_rows() -> None:
    torch.manual_seed(0)
    site = pool(WORLD, 32, (32, 16), [8, 20])
    tiles = Tiles(WORLD.ints(tile_spans([0, 1], 16)), 16)
    x = WORLD.draw(2, 32)
    found = lora_delta(x, site, tiles, 20)
    for slot, rank in ((0, 8), (1, 20)):
        rows = [int(page) * 8 + i for page in site.pages[slot, 1] for i in range(8)][:rank]
        a, b = site.a[1, rows], site.b[site.b_offsets[1] :].view(-1, 16)[rows]
        torch.testing.assert_close(found[slot, 32:], x[slot] @ a.T @ b)


def test_every_case_is_printed_beside_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kernels.json"
    main(parse(["--device", "cpu", "--shape", "tiny", "--only", "add_rms_norm,linear", "--json", str(path)]))
    cases = json.loads(path.read_text())["cases"]
    assert {case["op"] for case in cases} == {"add_rms_norm", "linear"}
    assert all(case["microseconds"] > 0 and case["share_of_limit"] >= 0 for case in cases)
    printed = capsys.readouterr().out
    assert "GB/s" in printed
    assert "TFLOP/s" in printed


def test_kernels_that_are_none_are_named() -> None:
    with pytest.raises(SystemExit, match="--only names norms; kernels are add_rms_norm"):
        main(parse(["--device", "cpu", "--shape", "tiny", "--only", "norms"]))
