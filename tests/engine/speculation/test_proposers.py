from random import Random

import pytest

from chorus_engine.core.request import Request, SamplingParams
from chorus_engine.speculation import NgramProposer, Proposer, ScriptedProposer, SuffixProposer
from chorus_engine.speculation.token_log import BOUNDARY, TokenLog

GREEDY = SamplingParams(max_tokens=99, temperature=0.0)


def ask(name: str, *prompt: int, namespace: bytes = b"", adapter: str | None = None) -> Request:
    return Request(name, prompt, GREEDY, adapter=adapter, namespace=namespace)


def test_what_followed_the_same_words_is_guessed() -> None:
    proposer = NgramProposer()
    request = ask("r", 1, 2, 3, 4, 5, 6, 9)
    assert proposer.propose(request, [], 4) == ()
    assert proposer.propose(request, [2, 3], 3) == (4, 5, 6)
    assert proposer.propose(request, [2, 3, 4, 5], 2) == (6, 9)


def test_the_longest_match_wins_and_of_equal_ones_the_latest() -> None:
    proposer = NgramProposer()
    prompt = (7, 1, 2, 3, 50, 8, 1, 2, 3, 60, 9, 2, 3, 70)
    assert proposer.propose(ask("a", *prompt), [8, 1, 2, 3], 1) == (60,)
    assert proposer.propose(ask("b", *prompt), [5, 1, 2, 3], 1) == (60,)
    assert proposer.propose(ask("c", *prompt), [0, 2, 3], 1) == (70,)


def test_a_text_that_repeats_itself_goes_on() -> None:
    assert NgramProposer().propose(ask("r", 5, 1, 2, 1, 2, 1), [2], 5) == (1, 2, 1, 2, 1)


def test_guessing_after_each_token_is_guessing_at_once() -> None:
    draw = Random(1)
    tokens = [draw.randrange(4) for _ in range(300)]
    request = ask("r", *tokens[:40])
    step_by_step = NgramProposer()
    for end in range(40, 300, 7):
        assert step_by_step.propose(request, tokens[40:end], 5) == NgramProposer().propose(request, tokens[40:end], 5)


def test_a_match_is_the_longest_of_all_that_are_looked_at() -> None:
    """Against a search through everything, for texts in which no pair occurs more often than it looks."""
    draw = Random(2)
    for _ in range(50):
        tokens = [draw.randrange(12) for _ in range(60)]
        log = TokenLog()
        log.extend(tokens)
        length, place = log.after_itself()
        best = max((_common(tokens, other) for other in range(1, len(tokens))), default=0)
        assert length == (best if best >= 2 else 0)
        assert not length or _common(tokens, place) == length


def _common(tokens: list[int], place: int) -> int:
    length = 0
    while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


def test_outputs_of_the_same_adapter_and_tenant_are_remembered() -> None:
    proposer = SuffixProposer()
    proposer.forget(ask("old", 1, namespace=b"one", adapter="x"), [10, 11, 12, 13, 14])
    fresh = ask("new", 2, 3, namespace=b"one", adapter="x")
    assert proposer.propose(fresh, [10, 11], 8) == (12, 13, 14), "not past the end of an output"
    for namespace, adapter in ((b"two", "x"), (b"one", "y"), (b"one", None), (b"", "x")):
        assert proposer.propose(ask("other", 2, 3, namespace=namespace, adapter=adapter), [10, 11], 8) == ()
    proposer.forget(ask("nobody's", 1, adapter="x"), [10, 11, 12])
    assert len(proposer) == 1
    proposer.check()


def test_ones_own_text_is_preferred_to_an_equal_match() -> None:
    proposer = SuffixProposer()
    proposer.forget(ask("old", 1, namespace=b"one"), [5, 6, 7, 8])
    assert proposer.propose(ask("own", 5, 6, 9, namespace=b"one"), [5, 6], 1) == (9,)
    assert proposer.propose(ask("longer", 5, 6, 9, namespace=b"one"), [5, 6, 7], 1) == (8,)


def test_memory_is_bounded_and_the_least_recently_used_goes() -> None:
    proposer = SuffixProposer(most_tokens=100, most_of_one=40)
    draw = Random(0)
    for turn in range(60):
        namespace = bytes([turn % 7])
        proposer.forget(ask(str(turn), 1, namespace=namespace), [draw.randrange(9) for _ in range(draw.randrange(70))])
        proposer.check()
    proposer.forget(ask("a", 1, namespace=b"a"), [100, 101, 102, 103])
    assert proposer.propose(ask("b", 1, namespace=b"a"), [100, 101], 2) == (102, 103)


@pytest.mark.parametrize("proposer", [NgramProposer(), SuffixProposer(), ScriptedProposer(lambda _: (), 1.0, vocab=9)])
def test_what_has_ended_is_forgotten(proposer: Proposer) -> None:
    request = ask("r", 1, 2, 1, 2)
    proposer.propose(request, [1, 2], 3)
    proposer.forget(request, [1, 2])
    proposer.forget(ask("never asked", 1), [])
    if isinstance(proposer, NgramProposer):
        assert len(proposer) == 0


def test_a_script_is_as_right_as_it_says() -> None:
    answer = list(range(1000))
    proposer = ScriptedProposer(lambda _: answer, 0.8, vocab=2000)
    drafts = proposer.propose(ask("r", 1), answer[:3], 900)
    right = sum(draft == token for draft, token in zip(drafts, answer[3:], strict=False))
    assert 680 < right < 760
    assert proposer.propose(ask("r", 1), answer[:998], 9)[2:] == ()


def test_a_log_keeps_to_boundaries() -> None:
    log = TokenLog()
    log.extend([1, 2, 3, BOUNDARY, 4, 1, 2, BOUNDARY])
    assert log.read(0, 9) == (1, 2, 3)
    assert log.after([9, 1, 2]) == (2, 7)
    assert log.read(7, 3) == ()
