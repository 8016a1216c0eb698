"""What of a service's output a person is shown, and in which words."""

from pathlib import Path

import pytest

from scripts.stack.logs import ServiceLog, interpret


@pytest.mark.parametrize(
    ("line", "level", "words"),
    [
        ('{"level": "info", "event": "serving", "address": "127.0.0.1:8001"}', "info", "serving"),
        ('{"level": "WARNING", "message": "engine lost"}', "warning", "engine lost"),
        (
            '{"level": "error", "message": "it broke", "exception": "Traceback\\n  File x\\nValueError: no"}',
            "error",
            "it broke: ValueError: no",
        ),
        ("gateway: CHORUS_KEY_PEPPER is not set.", "error", "gateway: CHORUS_KEY_PEPPER is not set."),
        ("12:M 21 Nov 2026 10:00:00.123 * Ready to accept connections", "info", "Ready to accept connections"),
        ("12:M 21 Nov 2026 10:00:00.123 # Out Of Memory", "warning", "Out Of Memory"),
        ("model.safetensors:  45%|####      | 450M/1G", "info", "model.safetensors:  45%|####      | 450M/1G"),
        ("", "error", ""),
    ],
)
def test_a_line_has_a_level_and_words(line: str, level: str, words: str) -> None:
    found_level, found_words = interpret(line)
    assert found_level == level
    assert words in found_words


def test_a_log_keeps_every_line_and_remembers_the_last_complaint(tmp_path: Path) -> None:
    log = ServiceLog.open(tmp_path / "engine.log")
    assert not log.write('{"level": "info", "event": "loading"}')
    assert log.write('{"level": "error", "event": "it broke"}')
    assert not log.write('{"level": "info", "event": "stopped"}')
    log.file.close()
    assert (log.said, log.complaint) == ("stopped", "it broke")
    assert len(log.path.read_text().splitlines()) == 3


def test_the_last_runs_log_is_kept(tmp_path: Path) -> None:
    for run in ("first", "second"):
        log = ServiceLog.open(tmp_path / "engine.log")
        log.write(run)
        log.file.close()
    assert (tmp_path / "engine.log").read_text() == "second\n"
    assert (tmp_path / "engine.log.1").read_text() == "first\n"
