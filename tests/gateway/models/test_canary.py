from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.models.canary import in_canary

PROD = ("acme", "sql", "prod")


@given(chooser=st.text(), percent=st.integers(1, 98))
def test_who_is_in_a_canary_stays_in_it_while_it_grows(chooser: str, percent: int) -> None:
    assert in_canary(PROD, "acme", chooser, percent) <= in_canary(PROD, "acme", chooser, percent + 1)


@given(chooser=st.text())
def test_nothing_and_everything(chooser: str) -> None:
    assert not in_canary(PROD, "acme", chooser, 0)
    assert in_canary(PROD, "acme", chooser, 100)


def test_aliases_tenants_and_users_are_drawn_apart() -> None:
    users = [f"user {number}" for number in range(400)]

    def drawn(alias: tuple[str, str, str], tenant: str) -> list[bool]:
        return [in_canary(alias, tenant, user, 50) for user in users]

    first = drawn(PROD, "acme")
    assert first == drawn(PROD, "acme")
    for other in (drawn(PROD, "rival"), drawn(("acme", "sql", "beta"), "acme"), drawn(("acme", "sqlp", "rod"), "acme")):
        assert 120 < sum(one != two for one, two in zip(first, other, strict=True)) < 280


def test_what_is_no_text_can_be_drawn_too() -> None:
    assert in_canary(PROD, "acme", "\ud800", 100)
