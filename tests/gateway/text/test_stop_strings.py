from hypothesis import given
from hypothesis import strategies as st

from chorus_gateway.text.stop_strings import StopStrings

LETTERS = st.text("ab", max_size=20)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=4)


def cut(text: str, stops: list[str]) -> str:
    """The text before the stop that is completed first."""
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)[1]] if ends else text


@given(st.lists(LETTERS, max_size=8), STOPS)
def test_however_the_text_arrives_the_same_is_delivered(pieces: list[str], stops: list[str]) -> None:
    scanner = StopStrings(stops)
    delivered = "".join(scanner.feed(piece) for piece in pieces) + scanner.flush()
    assert delivered == cut("".join(pieces), stops)
    assert scanner.stopped == any(stop in "".join(pieces) for stop in stops)


@given(LETTERS, STOPS)
def test_only_what_may_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    scanner = StopStrings(stops)
    delivered = "".join(scanner.feed(letter) for letter in text)
    if not scanner.stopped:
        held = text[len(delivered) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_the_stop_is_delivered_when_it_is_to_be_included() -> None:
    scanner = StopStrings(["END"], include=True)
    assert scanner.feed("the E") + scanner.feed("ND of it") == "the END"
    assert scanner.stopped
    assert scanner.feed("more") + scanner.flush() == ""
