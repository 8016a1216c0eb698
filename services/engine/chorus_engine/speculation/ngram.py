"""What came after the same words before, in the prompt or in the output: answers often quote what they were given."""

from collections.abc import Sequence

from chorus_engine.core.request import Request
from chorus_engine.speculation.token_log import TokenLog

MOST_PROMPT = 16384  # tokens of a prompt's end that are searched: some milliseconds to take in, once


class NgramProposer:
    def __init__(self) -> None:
        self._texts: dict[str, TokenLog] = {}  # by request, prompt and output
        self._taken: dict[str, int] = {}  # by request, tokens of the output that its log has

    def propose(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, ...]:
        _, tokens = self.longest(request, produced, count)
        return tokens

    def longest(self, request: Request, produced: Sequence[int], count: int) -> tuple[int, tuple[int, ...]]:
        """The length of the match, too."""
        text = self.text(request, produced)
        length, place = text.after_itself()
        if not length:
            return 0, ()
        # A text that repeats itself goes on repeating: past the end, what was guessed is read again.
        period = len(text) - place
        found = text.read(place, min(count, period))
        return length, tuple(found[index % period] for index in range(count))

    def text(self, request: Request, produced: Sequence[int]) -> TokenLog:
        """Prompt and output so far."""
        log = self._texts.get(request.id)
        if log is None:
            log = self._texts[request.id] = TokenLog()
            log.extend(request.prompt[-MOST_PROMPT:])
            self._taken[request.id] = 0
        log.extend(produced[self._taken[request.id] :])
        self._taken[request.id] = len(produced)
        return log

    def forget(self, request: Request, produced: Sequence[int]) -> None:
        self._texts.pop(request.id, None)
        self._taken.pop(request.id, None)

    def __len__(self) -> int:
        """Requests whose texts are held."""
        return len(self._texts)
