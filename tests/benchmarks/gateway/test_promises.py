from benchmarks.gateway.promises import fairness, quotas

TIMED = {"alone": 0.1, "beside_flood": 0.14, "bound": 0.16, "requests": 100, "reached": True}
FAIR = {
    "equal_weights": {"shares": {"light": 0.49, "heavy": 0.51}},
    "weights_3_to_1": {"shares": {"light": 0.79, "heavy": 0.21}},
    "light_first_token_p95": TIMED,
    "priority_first_token_p95": {**TIMED, "beside_flood": 0.2},
    "bands": {"shares": {"priority": 0.6, "default": 0.35, "flex": 0.05}},
}


def test_what_is_held_or_passed_is_told() -> None:
    nothing = {"left": {"leases": 0, "tokens": 0}, "most_in_flight_seen": 5, "places": 5}
    assert [figure.holds for figure in quotas(nothing)] == [True, True]
    assert [figure.value for figure in quotas({**nothing, "left": {"leases": 2}, "most_in_flight_seen": 7})] == [2, 2]


def test_shares_are_held_to_what_they_should_be() -> None:
    assert [figure.holds for figure in fairness(FAIR)] == [True, False, True, False, True]
