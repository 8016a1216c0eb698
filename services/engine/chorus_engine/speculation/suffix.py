"""What the same adapter answered lately, to the same tenant: agents, forms and templates say the same again."""

from collections import OrderedDict
from collections.abc import Sequence

from chorus_engine.core.request import Request
from chorus_engine.speculation.ngram import NgramProposer
from chorus_engine.speculation.token_log import BOUNDARY, LONGEST, TokenLog

MOST_TOKENS = 262_144  # over all namespaces: some 50 MB
MOST_OF_ONE = 16_384

Key = tuple[bytes, str | None]


class SuffixProposer:
    """Outputs are kept when they end, by namespace and adapter: a request sees none but those of its own. What has no
    namespace shares nothing and leaves nothing. The longest match wins, in its own text or in those; its own of equal
    ones. Beyond the bounds, namespaces go that were used longest ago, and of one the older half."""

    def __init__(self, most_tokens: int = MOST_TOKENS, most_of_one: int = MOST_OF_ONE) -> None:
        self._own = NgramProposer()
        self._most_tokens = most_tokens
        self._most_of_one = most_of_one
        self._logs: OrderedDict[Key, TokenLog] = OrderedDict()  # least recently used first
        self.tokens = 0  # held

    def propose(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, ...]:
        length, tokens = self._own.longest(request, produced, count)
        log = self._logs.get(_key(request)) if request.namespace else None
        if log is None:
            return tokens
        tail = self._own.text(request, produced).tokens[-LONGEST:]
        longer, place = log.after(tail)
        return log.read(place, count) if longer > length else tokens

    def forget(self, request: Request, produced: Sequence[int]) -> None:
        self._own.forget(request, produced)
        if request.namespace and len(produced) > 2:
            self._keep(_key(request), produced)

    def _keep(self, key: Key, produced: Sequence[int]) -> None:
        log = self._logs.pop(key, None) or TokenLog()
        held = len(log)
        if held + len(produced) >= self._most_of_one:
            recent = log.tokens[-(self._most_of_one // 2) :]
            log = TokenLog()
            log.extend(recent)
        log.extend((*produced[-(self._most_of_one // 2) + 1 :], BOUNDARY))
        self._logs[key] = log
        self.tokens += len(log) - held
        while self.tokens > self._most_tokens:
            _, oldest = self._logs.popitem(last=False)
            self.tokens -= len(oldest)

    def __len__(self) -> int:
        """Namespaces held."""
        return len(self._logs)

    def check(self) -> None:
        assert self.tokens == sum(map(len, self._logs.values())) <= self._most_tokens
        assert all(len(log) <= self._most_of_one for log in self._logs.values())


def _key(request: Request) -> Key:
    return request.namespace, request.adapter
