"""A second start takes digests from the cache; whether they were right is found out while it serves."""

import json
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from chorus_engine.model import DigestCheck
from chorus_engine.model.digest import BaseDigest, base_digest


class Started:
    """A checkpoint whose digest was taken from a cache, and what the check says of it."""

    def __init__(self, checkpoint: Path, cache: Path) -> None:
        self.config, self.weights = checkpoint / "config.json", checkpoint / "model.safetensors"
        self.cache = cache
        self.changed = threading.Event()
        self.first = self.digest()
        self.second = self.digest()

    def digest(self) -> BaseDigest:
        return base_digest(self.config, [self.weights], self.cache)

    def check(self, rate: float = 1e12) -> DigestCheck:
        return DigestCheck(self.second.remembered, self.cache, self.changed.set, rate)

    def tamper(self) -> None:
        """Other bytes of the same size, at the same time."""
        stat, content = self.weights.stat(), self.weights.read_bytes()
        self.weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(self.weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def started(checkpoint: Path, tmp_path: Path) -> Started:
    return Started(checkpoint, tmp_path / "digests.json")


def run(check: DigestCheck) -> None:
    check.start()
    for thread in threading.enumerate():
        if thread.name == "digest-check":
            thread.join(10)


def test_what_was_hashed_at_this_start_is_not_read_again(started: Started) -> None:
    assert started.first.remembered == ()
    assert [file.path for file in started.second.remembered] == [started.config, started.weights]
    assert started.first.value == started.second.value


def test_files_that_are_what_they_were_change_nothing(started: Started, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(started.check())
    assert not started.changed.is_set()
    assert "the base's digest is right" in caplog.text
    assert started.digest().remembered == started.second.remembered


def test_a_file_changed_in_place_is_named_once_and_forgotten(
    started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    started.tamper()
    assert started.digest().value == started.first.value, "size and time alone do not tell"
    run(started.check())
    assert started.changed.is_set()
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.levelno == logging.ERROR
    assert str(started.weights) in line.getMessage()
    assert not any(str(started.weights) in key for key in json.loads(started.cache.read_text()))
    assert started.digest().value != started.first.value


def test_a_file_replaced_since_the_start_is_no_reason_to_end(started: Started) -> None:
    """As a download of a newer version does it: what was loaded was right."""
    started.weights.write_bytes(started.weights.read_bytes() + b"x")
    run(started.check())
    assert not started.changed.is_set()


def test_a_file_that_is_gone_is_told_and_no_reason_to_end(started: Started, caplog: pytest.LogCaptureFixture) -> None:
    started.weights.unlink()
    run(started.check())
    assert not started.changed.is_set()
    assert "the base's digest is not checked" in caplog.text


def test_reading_keeps_to_its_rate_and_ends_when_told(started: Started) -> None:
    size = sum(file.path.stat().st_size for file in started.second.remembered)
    began = time.monotonic()
    run(started.check(rate=size / 0.2))
    assert time.monotonic() - began >= 0.19
    check = started.check(rate=1)  # hours
    check.start()
    began = time.monotonic()
    check.stop()
    assert time.monotonic() - began < 60
    assert not started.changed.is_set()


def test_nothing_to_check_starts_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    check = DigestCheck((), tmp_path / "digests.json", changed=lambda: None)
    check.start()
    assert threading.active_count() == before
    check.stop()
