import json
from pathlib import Path

import pytest

from benchmarks.figures import Figure, write


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure("a", 2.0, "x", 2.0), True),
        (Figure("a", 2.1, "x", 2.0), False),
        (Figure("a", 0.95, limit=0.95, least=True), True),
        (Figure("a", 0.94, limit=0.95, least=True), False),
        (Figure("a", 1.0), None),
    ],
)
def test_a_limit_holds_or_does_not(figure: Figure, holds: bool | None) -> None:
    assert figure.holds is holds
    assert ("MISSED" in str(figure)) is (holds is False)


def test_the_file_has_each_figure_beside_its_limit(tmp_path: Path) -> None:
    write([Figure("slow", 3.0, "s", 2.0, detail={"n": 1}), Figure("share", 0.9)], 12.3, tmp_path, "slots", whole=True)
    report = json.loads((tmp_path / "slots.json").read_text())
    assert report["seconds"] == 12
    assert report["commit"]
    assert report["machine"]
    assert report["versions"]["torch"]
    slow, share = report["figures"]
    assert (slow["value"], slow["limit"], slow["holds"], slow["detail"]) == (3.0, 2.0, False, {"n": 1})
    assert share["holds"] is None
    assert (tmp_path / "slots.png").stat().st_size > 1000


def test_figures_that_are_infinite_or_zero_are_drawn(tmp_path: Path) -> None:
    write([Figure("never", float("inf"), "s", 5.0), Figure("none", 0, "", 0)], 1.0, tmp_path, "slots", whole=True)
    assert (tmp_path / "slots.png").exists()
    assert json.loads((tmp_path / "slots.json").read_text())["figures"][0]["value"] is None


def test_a_run_of_some_parts_keeps_the_figures_of_the_others(tmp_path: Path) -> None:
    first = [Figure("a", 1.0, "s", 2.0, detail={"n": 1}), Figure("never", float("inf"))]
    write(first, 1.0, tmp_path, "slots", whole=True)
    path = tmp_path / "slots.json"
    older = path.read_text().replace(json.loads(path.read_text())["commit"], "0ld")
    path.write_text(older)

    write([Figure("never", 3.0), Figure("b", 2.0)], 1.0, tmp_path, "slots", whole=False)

    figures = {figure["name"]: figure for figure in json.loads(path.read_text())["figures"]}
    assert figures["a"] == next(figure for figure in json.loads(older)["figures"] if figure["name"] == "a")
    assert figures["a"]["commit"] == "0ld"
    assert (figures["never"]["value"], figures["b"]["value"]) == (3.0, 2.0)
    assert "0ld" not in (figures["never"]["commit"], figures["b"]["commit"])
    write([Figure("b", 2.0)], 1.0, tmp_path, "slots", whole=True)
    assert [figure["name"] for figure in json.loads(path.read_text())["figures"]] == ["b"]
