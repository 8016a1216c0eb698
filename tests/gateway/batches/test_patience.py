import asyncio

import pytest

from chorus_gateway.batches.asking import Answered
from chorus_gateway.batches.gate import Gate
from chorus_gateway.batches.patience import FIRST, LONGEST, LONGEST_UNTOLD, SUSPENDED, TRIES, wait_before_retry
from tests.gateway.support.batches import bad


@pytest.mark.parametrize(
    ("answer", "tries", "wait"),
    [
        (Answered("r", 200, {}, b"{}"), 1, None),
        (bad(400), 1, None),
        (bad(404), 1, None),
        (bad(401), 1, None),
        (bad(429, {"retry-after-ms": "1500"}), 9, 1.5),
        (bad(429, {"retry-after-ms": "1"}), 1, FIRST),
        (bad(429, {"retry-after-ms": "3600000"}), 1, LONGEST),
        (bad(429, {"x-should-retry": "false"}), 1, None),
        (bad(503), 1, FIRST),
        (bad(503), 1000, LONGEST_UNTOLD),
        (bad(503, {"retry-after-ms": "9000"}), 1, 9.0),
        (bad(500), TRIES - 1, FIRST * 2.0 ** (TRIES - 2)),
        (bad(500), TRIES, None),
        (bad(504), TRIES, None),
        (bad(403, code="permission_denied"), 1, None),
        (bad(403, code="tenant_suspended"), 50, SUSPENDED),
        (Answered("r", 403, {}, b"[]"), 1, None),
    ],
)
def test_what_is_away_is_waited_for_and_what_is_wrong_is_not(answer: Answered, tries: int, wait: float | None) -> None:
    assert wait_before_retry(answer, tries) == wait


async def test_the_gate_is_halved_by_a_round_of_refusals_and_opens_again() -> None:
    now = 0.0
    gate = Gate(8, clock=lambda: now)
    for _ in range(5):
        gate.refused(1.0)
    assert gate.width == 4, "they were of one round"
    now = 2.0
    gate.refused(0.0)
    assert gate.width == 2
    for _ in range(3):
        now += 1
        gate.refused(0.0)
    assert gate.width == 1, "one may always go"
    for _ in range(100):
        gate.let_through()
    assert gate.width == 8


async def test_no_more_pass_than_the_gate_is_wide() -> None:
    gate, inside, most = Gate(3), 0, 0

    async def go() -> None:
        nonlocal inside, most
        async with gate.passed():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    gone = asyncio.create_task(go())
    gone.cancel()
    await asyncio.gather(*(go() for _ in range(20)))
    assert most == 3
