"""The benchmark's proof, scaled down: `python -m benchmarks.gateway.quota` makes a million requests."""

import pytest

from benchmarks.gateway import quota

REQUESTS = 800
LIVES = (200, 300)  # requests after which a gateway is killed


@pytest.mark.slow
def test_nothing_is_held_once_all_requests_have_ended_whichever_way() -> None:
    found = quota.run(REQUESTS, LIVES)
    assert found["requests"] >= REQUESTS
    assert found["gateways_killed"] >= 1
    assert all(found["ended"][how] for how in ("answered", "disconnected", "cancelled"))
    assert found["most_in_flight_seen"] <= found["places"]
    assert set(found["left"].values()) == {0}
