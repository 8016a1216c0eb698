"""Uploads are checked by processes that may die, and be stopped, without anybody else noticing."""

import asyncio
import json
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from chorus_adapter_store.config import plain_environment
from chorus_adapter_store.errors import InvalidArgument, Unavailable
from chorus_adapter_store.validate import Limits, ProcessValidator, check_adapter
from chorus_adapter_store.validate.child import Child
from chorus_adapter_store.validate.wire import Message
from chorus_adapter_store.values import CONFIG_FILE
from tests.adapter_store.support import BASE, make_upload

MIB = 1 << 20
# Takes the whole of `pattern_seconds` to match.
SLOW = {"target_modules": "([a-z._0-9]|[a-z])*[A-Z.]{3}"}


def make(seconds: float = 30, memory: int = 512 * MIB, **limits: float) -> ProcessValidator:
    allowed = Limits(**{"pattern_seconds": 0.5, **limits})  # type: ignore[arg-type]  # of mixed types
    environment = plain_environment()
    return ProcessValidator(allowed, parallel=2, memory=memory, seconds=seconds, environment=environment)


@pytest.fixture
async def validator() -> AsyncIterator[ProcessValidator]:
    made = make()
    yield made
    await made.close()
    assert children() == []


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "chorus_adapter_store.validate.process" in each.cmdline()]


async def checking() -> psutil.Process:
    """The one process that was idle, once it works."""
    (child,) = children()
    before = child.cpu_times()
    while child.cpu_times().user < before.user + 0.1:  # noqa: ASYNC110  # another process's
        await asyncio.sleep(0.01)
    return child


def files(folder: Path, **config: object) -> tuple[Path, Path]:
    folder.mkdir()
    return make_upload().with_config(**config).write(folder)


async def test_it_answers_as_the_check_itself_and_one_process_serves_many(
    tmp_path: Path, validator: ProcessValidator
) -> None:
    good, bad, missing = files(tmp_path / "good"), files(tmp_path / "bad", r=0), (tmp_path / "a", tmp_path / "b")
    assert await validator.validate(*good, BASE) == check_adapter(*good, BASE, Limits())
    with pytest.raises(InvalidArgument, match=r"^adapter_config\.json: r is 0: a rank is") as caught:
        await validator.validate(*bad, BASE)
    assert caught.value.field == CONFIG_FILE
    with pytest.raises(Unavailable, match="disk failed \\(No such file or directory\\)"):
        await validator.validate(*missing, BASE)
    assert len(children()) == 1


async def test_it_is_bounded_and_knows_no_secret(validator: ProcessValidator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_SERVICE_TOKEN", "a secret of the store")
    await validator.warm()
    (child,) = children()
    assert child.rlimit(psutil.RLIMIT_AS) == (512 * MIB, 512 * MIB)
    for kind in (psutil.RLIMIT_CORE, psutil.RLIMIT_FSIZE, psutil.RLIMIT_NPROC):
        assert child.rlimit(kind) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_NOFILE) == (16, 16)
    assert not [name for name in child.environ() if name.startswith("CHORUS_")]


async def test_a_check_that_takes_too_long_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    validator = make(seconds=0.5, pattern_seconds=60)
    with pytest.raises(InvalidArgument, match=r"more than the 0\.5 s of CHORUS_STORE_VALIDATION_TIMEOUT"):
        await validator.validate(*files(tmp_path / "slow", **SLOW), BASE)
    assert children() == []
    assert (await validator.validate(*files(tmp_path / "good"), BASE)).rank == 4
    await validator.close()


async def test_a_check_that_takes_too_much_memory_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    validator = make(memory=160 * MIB, max_header_bytes=64 * MIB)
    config, weights = files(tmp_path / "large")
    text = b'{"w":[' + b"{}," * (2 * MIB) + b"{}]}"
    weights.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(InvalidArgument, match=r"more than the 0\.15625 GiB of CHORUS_STORE_VALIDATION_MEMORY"):
        await validator.validate(config, weights, BASE)
    assert (await validator.validate(*files(tmp_path / "good"), BASE)).rank == 4
    await validator.close()


async def test_weights_far_larger_than_the_memory_are_checked(tmp_path: Path) -> None:
    validator = make(memory=160 * MIB)
    config, weights = files(tmp_path / "large")
    elements = 300 * MIB // 4
    header = json.dumps({"w": {"dtype": "F32", "shape": [elements], "data_offsets": [0, elements * 4]}}).encode()
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + elements * 4)
    with pytest.raises(InvalidArgument, match="tensor 'w' is not named as PEFT"):
        await validator.validate(config, weights, BASE)
    await validator.close()


async def test_a_process_that_dies_is_replaced_and_its_upload_checked_again(
    tmp_path: Path, validator: ProcessValidator
) -> None:
    good, slow = files(tmp_path / "good"), files(tmp_path / "slow", **SLOW)
    await validator.validate(*good, BASE)
    running = asyncio.create_task(validator.validate(*slow, BASE))
    child = await checking()
    child.kill()
    assert (await validator.validate(*good, BASE)).rank == 4
    with pytest.raises(InvalidArgument, match=r"matching took more than 0\.5 s"):
        await running
    assert child.pid not in {each.pid for each in children()}


async def test_an_upload_that_kills_two_processes_is_refused(
    tmp_path: Path, validator: ProcessValidator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Child.ask

    async def killing(self: Child, task: Message) -> Message:
        for child in children():
            child.send_signal(signal.SIGSEGV)
        return await ask(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(Child, "ask", killing)
        with pytest.raises(InvalidArgument, match=r"died of this one, twice \(SIGSEGV\)"):
            await validator.validate(*files(tmp_path / "bad"), BASE)
    assert (await validator.validate(*files(tmp_path / "good"), BASE)).rank == 4


async def test_an_idle_process_that_died_is_replaced(tmp_path: Path, validator: ProcessValidator) -> None:
    await validator.warm()
    (child,) = children()
    child.kill()
    assert (await validator.validate(*files(tmp_path / "good"), BASE)).rank == 4


async def test_a_process_serves_so_many_and_no_more(
    tmp_path: Path, validator: ProcessValidator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chorus_adapter_store.validate.worker._ANSWERS", 2)
    good, pids = files(tmp_path / "good"), []
    for _ in range(4):
        await validator.warm()
        pids.append(children()[0].pid)
        await validator.validate(*good, BASE)
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_a_cancelled_check_stops_its_process(tmp_path: Path, validator: ProcessValidator) -> None:
    await validator.warm()
    running = asyncio.create_task(validator.validate(*files(tmp_path / "slow", **SLOW), BASE))
    await checking()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert children() == []
    assert (await validator.validate(*files(tmp_path / "good"), BASE)).rank == 4


def test_it_ends_with_its_parent_in_the_middle_of_a_check(tmp_path: Path) -> None:
    config, weights = files(tmp_path / "slow", **SLOW)
    script = f"""
import asyncio, psutil
from pathlib import Path
from chorus_adapter_store.validate import Limits, ProcessValidator
from tests.adapter_store.support import BASE
async def run():
    limits = Limits(pattern_seconds=60)
    validator = ProcessValidator(limits, parallel=1, memory=1 << 29, seconds=60, environment={{}})
    await validator.warm()
    print(psutil.Process().children()[0].pid, flush=True)
    await validator.validate(Path({str(config)!r}), Path({str(weights)!r}), BASE)
asyncio.run(run())
"""
    with psutil.Popen([sys.executable, "-c", script], stdout=-1, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.2)
        parent.kill()
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_what_is_no_message_ends_it() -> None:
    command = [sys.executable, "-m", "chorus_adapter_store.validate.process", str(512 * MIB), "10"]
    finished = subprocess.run(command, input=b"\xff\xff\xff\xff{}", capture_output=True, timeout=30, check=False)
    assert b"ready" in finished.stdout
    assert b"more than the 16777216 allowed" in finished.stderr
    assert finished.returncode == 1
