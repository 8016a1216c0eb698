"""The room's parts, put together."""

from contextlib import suppress
from queue import LifoQueue

from chorus_engine.constraints.cache import GrammarCache
from chorus_engine.constraints.compilers import Compilers
from chorus_engine.constraints.gate import ConstraintGate, Engine
from chorus_engine.constraints.grammar import compile_grammar
from chorus_engine.constraints.lanes import Grammar
from chorus_engine.constraints.source import Constraints, usual_threads
from chorus_engine.constraints.tokenizer import TokenTable, library
from chorus_engine.constraints.trial import Trial
from chorus_engine.constraints.watcher import NOBODY, Watcher
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import ConstraintRefused

COMPILERS = 2  # threads; a usual schema takes a millisecond, the worst that llguidance allows a second or so
MAX_LANES = 32  # of a grammar: measured, masks of 32 rows take 3.5 ms in one lane, 1.7 in eight, 1.45 in 32
WARM = ""  # the tenant that has the tokenizer made


class ConstraintRoom:
    """`source` is the runner's, `gate` stands before the loop."""

    def __init__(
        self, tokenizer_json: str, vocab_size: int, eos_token_ids: tuple[int, ...], *, watcher: Watcher = NOBODY
    ) -> None:
        self.table = TokenTable(tokenizer_json, vocab_size, eos_token_ids)
        self._compilers = Compilers(COMPILERS)
        self._trials = [Trial(self.table) for _ in range(COMPILERS)]
        self._idle: LifoQueue[Trial] = LifoQueue()  # the one that was used last is started
        for trial in reversed(self._trials):
            self._idle.put(trial)
        threads = usual_threads()
        lanes = MAX_LANES if threads > 1 else 1
        self.cache = GrammarCache(
            self._compile, self._compilers.start, widen=self._widen, max_lanes=lanes, watcher=watcher
        )
        self.source = Constraints(self.cache, threads, watcher=watcher)

    def gate(self, engine: Engine) -> ConstraintGate:
        return ConstraintGate(engine, self.cache)

    def warm(self) -> None:
        """So that the first constraint does not wait for a large tokenizer. Returns at once."""
        if self.table.large:
            self._compilers.start(WARM, self._warm)

    def close(self) -> None:
        """What waits to be compiled never is."""
        self._compilers.close()
        for trial in self._trials:
            trial.close()

    def _warm(self) -> None:
        with suppress(ConstraintRefused):  # whoever asks for a constraint hears of it
            self.table.get()
            for trial in self._trials:
                trial.start()

    def _compile(self, constraint: Constraint) -> Grammar:
        library()  # where there is none, that is why
        trial = self._idle.get()  # there is one for each thread
        try:
            trial.check(constraint)
        finally:
            self._idle.put(trial)
        return Grammar(compile_grammar(constraint, self.table))

    def _widen(self, constraint: Constraint, grammar: Grammar) -> None:
        grammar.add(compile_grammar(constraint, self.table))
