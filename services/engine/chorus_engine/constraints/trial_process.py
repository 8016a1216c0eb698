"""The process of `trial`: compiles each constraint that it is told on stdin, and says on stdout what is wrong with it.

Lines of JSON: first the tokenizer, then constraints; an answer is a sentence, empty for a constraint that is good. It
dies where one takes too much, and ends with its stdin.
"""

import json
import resource
import sys
import threading
from math import ceil
from pathlib import Path
from typing import Any

from chorus_engine.constraints.grammar import compile_grammar
from chorus_engine.constraints.tokenizer import TokenTable
from chorus_engine.core.constraint import Constraint, ConstraintKind
from chorus_engine.core.errors import ConstraintRefused

CPU_SECONDS = 2
MEMORY = 1 << 30  # bytes beside the tokenizer
STACK = 2 << 20  # bytes: less than the engine's threads have


def main() -> None:
    table = TokenTable(**json.loads(sys.stdin.readline()))
    _warm(table)
    _limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK)
    for line in sys.stdin:
        _limit_time()
        answers: list[str] = []
        worker = threading.Thread(target=_try, args=(json.loads(line), table, answers))
        worker.start()
        worker.join()
        sys.stdout.write(json.dumps(answers[0]) + "\n")
        sys.stdout.flush()


def _warm(table: TokenTable) -> None:
    try:
        table.get()
    except ConstraintRefused:
        return  # each constraint's answer says so


def _try(question: dict[str, Any], table: TokenTable, answers: list[str]) -> None:
    try:
        compile_grammar(Constraint(ConstraintKind(question["kind"]), question["source"]), table)
    except ConstraintRefused as error:
        answers.append(str(error))
    else:
        answers.append("")


def _limit_time() -> None:
    """From now on, in processor time: how busy the machine is does not matter."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(usage.ru_utime + usage.ru_stime) + CPU_SECONDS, hard))


def _limit_memory() -> None:
    """Beside what is taken already; only Linux says how much that is."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
