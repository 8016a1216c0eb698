"""`chorus top` over time, which a test makes pass."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from chorus_client import Activity, ChorusAdmin, EngineActivity, Live, TenantActivity, Unreachable
from chorus_client.cli import top
from chorus_client.cli.board import MINUTE, Board

NOTHING = Activity(0, 0, 0.0)
ENGINE = EngineActivity("e1", "host:1", "base", "ready", 3, 1, kv_blocks=100, kv_blocks_free=25, slots=8, slots_free=6)


def look(rate: float, *, complete: bool = True) -> Live:
    tenants = (TenantActivity(1, 0, rate, tenant="acme"),) if rate else ()
    return Live(2, complete, Activity(1, 0, rate), tenants, Activity(0, 3, 0.5), (ENGINE,))


def drawn(board: Board) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(board.screen())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_engines_and_tenants_are_drawn() -> None:
    board = Board()
    for rate in (1.0, 2.0, 0.0, 4.0):
        board.add(look(rate))
    shown = drawn(board)
    assert "75%" in shown
    assert "25%" in shown
    assert "▃▅▁█" in shown
    assert "(others)" in shown
    assert "Redis is away" not in shown
    board.add(look(1.0, complete=False))
    assert "Redis is away" in drawn(board)
    assert "Redis is away" in board.text()


def test_who_has_nothing_to_tell_for_long_is_forgotten() -> None:
    board = Board()
    board.add(look(1.0))
    for _ in range(MINUTE):
        board.add(look(0.0))
    assert not board._rates


def test_a_gateway_that_goes_away_is_shown_and_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: Iterator[Live | Exception] = iter([look(1.0), Unreachable("Nothing answers."), look(7.0)])

    class Engines:
        def live(self, most: int) -> Live:
            answer = next(answers, None)
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                raise KeyboardInterrupt
            return answer

    with ChorusAdmin("http://127.0.0.1:1", "key") as admin:
        monkeypatch.setattr(admin, "engines", Engines())
        monkeypatch.setattr(top, "console", lambda: Console(force_terminal=True, width=120, height=30))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        top._watch(admin, 1.0, 5)
    shown = capsys.readouterr().out
    assert shown.index("Nothing answers.") < shown.index("7.0")
    assert shown.rstrip().endswith("\x1b[?25h\x1b[?1049l")  # cursor and screen are back
