"""A compiled grammar, in as many lanes as masks are filled at once."""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakSet

from chorus_engine.constraints.matcher import GrammarMatcher

if TYPE_CHECKING:
    import llguidance

_numbers = count(1)


class Lane:
    """Copies of one llguidance matcher share its lexer and that one's lock, so that of a lane's rows one mask is filled
    at a time: eight threads on one lane took longer than one."""

    def __init__(self, root: "llguidance.LLMatcher") -> None:
        """root: at the beginning of an output; nobody else's."""
        self._root = root
        self._number = next(_numbers)
        self._followers: WeakSet[GrammarMatcher] = WeakSet()

    def __len__(self) -> int:
        """Matchers that live."""
        return len(self._followers)

    def follow(self, produced: Sequence[int]) -> GrammarMatcher:
        matcher = GrammarMatcher(self._root.deep_copy(), produced, self._number)
        self._followers.add(matcher)
        return matcher


class Grammar:
    """`add` may be called from another thread than `follow`."""

    def __init__(self, root: "llguidance.LLMatcher") -> None:
        self._lanes = [Lane(root)]

    def add(self, root: "llguidance.LLMatcher") -> None:
        """Another lane, compiled from the same source."""
        self._lanes.append(Lane(root))

    def follow(self, produced: Sequence[int] = ()) -> GrammarMatcher:
        """A matcher past what was produced, in the lane that has the fewest."""
        return min(self._lanes, key=len).follow(produced)
