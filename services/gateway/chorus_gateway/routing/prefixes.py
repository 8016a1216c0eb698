"""Which engines were last sent prompts that begin alike, so that they likely have the blocks of that beginning.

A beginning is known by hashes of its first 32, 64, 128 … tokens, seeded with the cache namespace, outside of which
engines share no blocks; and by the key that its client gave it, of which the last engine counts. What is remembered is
a guess, bounded and never asked for elsewhere: an engine may have given the blocks up, and then it only computes them
again.
"""

from collections import OrderedDict
from itertools import pairwise

from chorus_gateway.values import Job

_LENGTHS = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # tokens
_WORTH = 1 / 4  # of a prompt: a shorter beginning is not worth waiting for
_MOST_ENGINES = 4  # a beginning
_NOTHING: frozenset[str] = frozenset()


class Prefixes:
    def __init__(self, most: int = 20_000) -> None:
        """`most` beginnings are remembered, those that were used last."""
        self._most = most
        self._engines: OrderedDict[int, tuple[str, ...]] = OrderedDict()  # by beginning, the last one first

    def __len__(self) -> int:
        return len(self._engines)

    def engines(self, job: Job) -> frozenset[str]:
        """Ids of the one that was sent the job's key, else of those that were sent the longest beginning of the job's
        prompt that is known and worth it."""
        if job.cache_key and (keyed := self._engines.get(_key(job))) is not None:
            return frozenset(keyed[:1])
        hashes = _hashes(job)
        for length, key in zip(reversed(_LENGTHS[1 : len(hashes) + 1]), reversed(hashes), strict=True):
            if length < _WORTH * len(job.prompt):
                break
            if (found := self._engines.get(key)) is not None:
                return frozenset(found)
        return _NOTHING

    def note(self, job: Job, engine: str) -> None:
        """The job was sent to the engine."""
        for key in (*_hashes(job), *((_key(job),) if job.cache_key else ())):
            known = self._engines.get(key, ())
            if not known or known[0] != engine:
                others = [other for other in known if other != engine]
                self._engines[key] = (engine, *others[: _MOST_ENGINES - 1])
            self._engines.move_to_end(key)
        while len(self._engines) > self._most:
            self._engines.popitem(last=False)


def _key(job: Job) -> int:
    return hash((job.model.namespace, job.cache_key))


def _hashes(job: Job) -> list[int]:
    """Of each beginning of the prompt, shortest first."""
    prompt, hashes, key = job.prompt, list[int](), hash(job.model.namespace)
    for start, end in pairwise(_LENGTHS):
        if end > len(prompt):
            break
        key = hash((key, prompt[start:end]))
        hashes.append(key)
    return hashes
