from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.prices import cost, most, price_of
from chorus_gateway.prices.money import money_text, parse_money
from chorus_gateway.values import NANO, Price, Usage

TOKENS = st.integers(0, 10_000_000)
MILLIONTHS = st.integers(0, 10**12)


def test_a_million_tokens_cost_their_price() -> None:
    price = Price(input=150_000, cached=50_000, output=600_000)  # 0.15, 0.05 and 0.60
    assert cost(price, Usage(1_000_000, 0)) == 15 * NANO // 100
    assert cost(price, Usage(1_000_000, 0, cached_tokens=1_000_000)) == 5 * NANO // 100
    assert cost(price, Usage(0, 1_000_000)) == 60 * NANO // 100
    assert cost(price, Usage(23, 7, cached_tokens=16)) == 1_050 + 800 + 4_200
    assert cost(Price(), Usage(5, 5)) == 0


def test_what_is_less_than_a_billionth_is_one() -> None:
    assert cost(Price(1, 1, 1), Usage(1, 0)) == 1
    assert cost(Price(1, 1, 1), Usage(500, 501)) == 2


@given(prices=st.tuples(MILLIONTHS, MILLIONTHS, MILLIONTHS), prompt=TOKENS, cached=TOKENS, output=TOKENS)
def test_it_is_exact_rounded_up_once_and_within_its_bound(
    prices: tuple[int, int, int], prompt: int, cached: int, output: int
) -> None:
    price, cached = Price(*prices), min(cached, prompt)
    charged = cost(price, Usage(prompt, output, cached_tokens=cached))
    exact = Fraction((prompt - cached) * price.input + cached * price.cached + output * price.output, 1000)
    assert 0 <= charged - exact < 1
    assert charged <= most(price, prompt, output)


def test_an_engine_that_counts_more_cached_than_there_are_pays_nobody() -> None:
    assert cost(Price(1000, 0, 0), Usage(5, 0, cached_tokens=9)) == 0


def test_an_adapter_costs_what_its_base_does_unless_it_has_a_price() -> None:
    base, free = Price(1, 1, 1), Price()
    assert price_of({"": base, "acme/sql": free}, "acme/sql") == free
    assert price_of({"": base}, "acme/sql") == base
    assert price_of({"acme/sql": base}, "") == free


@pytest.mark.parametrize(
    ("text", "nano", "shown"),
    [
        ("12.50", 12_500_000_000, "12.50"),
        ("0.15", 150_000_000, "0.15"),
        ("7", 7 * NANO, "7.00"),
        ("007.000000001", 7 * NANO + 1, "7.000000001"),
        ("0", 0, "0.00"),
    ],
)
def test_money(text: str, nano: int, shown: str) -> None:
    assert parse_money(text, digits=9) == nano
    assert money_text(nano, digits=9) == shown


@pytest.mark.parametrize("text", ["", ".5", "1.", "1.0000000000", "1e3", "-1", "+1", " 1", "1 ", "1_0", "٣", "inf"])
def test_what_is_no_money(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        parse_money(text, digits=9)


@given(st.integers(0, 2**53))
def test_money_is_read_as_it_was_written(nano: int) -> None:
    assert parse_money(money_text(nano, digits=9), digits=9) == nano
