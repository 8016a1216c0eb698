import itertools
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from chorus_engine.checkpoint import locate
from chorus_engine.constraints import ConstraintRoom
from chorus_engine.core.constraint import Constraint
from chorus_engine.core.errors import InvalidRequest, StartError
from chorus_engine.core.request import (
    MAX_SPECULATION,
    Beam,
    BeamParams,
    FinishReason,
    Output,
    Pooling,
    Request,
    SampledToken,
    SamplingParams,
)
from chorus_engine.llm.adapters import Shelf
from chorus_engine.llm.answers import Completion, Found, Piece
from chorus_engine.llm.sampling import Sampling
from chorus_engine.llm.steps import Steps
from chorus_engine.llm.text import Texts, Writer
from chorus_engine.model import load, load_draft
from chorus_engine.runner import Runner, RunnerSettings, measure_capacity
from chorus_engine.scheduler import Scheduler
from chorus_engine.speculation import Control, NgramProposer, Speculator

Prompt = str | Sequence[int]  # a text, or token ids
Adapter = str | None  # a name; None is the base model
NAMESPACE = b"offline"  # all prompts are the caller's own
MAX_VERIFIED = 64  # tokens that a step with guesses may draw although fewer requests may run
PATIENCE = 0.5  # seconds after which a request gets a slot that others use


class LLM:
    """One base model and its adapters. For one thread; calls of `stream` may take turns."""

    def __init__(
        self,
        model: str | Path,
        adapters: Mapping[str, str | Path] | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        eager: bool = False,
        settings: RunnerSettings | None = None,
        draft: str | Path | None = None,
    ) -> None:
        """model: a checkpoint's folder or a hub id. adapters: folders by name. device: "auto", "cpu" or "cuda".

        dtype: "auto" is the checkpoint's on CUDA and float32 on CPU. eager: no CUDA graphs. settings: sizes and memory;
        the largest rank comes from the adapters. draft: a smaller checkpoint with the same tokenizer, which guesses
        what the model will say; without one guesses come from prompt and output.

        Raises StartError or AdapterUnusable.
        """
        chosen = _device(device)
        folder = locate(str(model))
        sizes = settings or _default_settings(chosen, len(adapters or ()))
        loaded = load(folder, name=folder.name, device=chosen, dtype=dtype, max_model_len=sizes.max_model_len)
        self._shelf = Shelf({name: Path(path) for name, path in (adapters or {}).items()}, loaded)
        sizes = replace(sizes, max_lora_rank=max(1, self._shelf.largest_rank), max_verified=MAX_VERIFIED)
        self._texts = Texts(folder)
        self._constraints = ConstraintRoom(self._texts.source, loaded.spec.vocab_size, loaded.spec.eos_token_ids)
        self._close = weakref.finalize(self, self._constraints.close)
        guesser = None if draft is None else load_draft(locate(str(draft), "CHORUS_DRAFT_MODEL"), loaded, folder)
        capacity = measure_capacity(loaded, sizes, guesser)
        constraints = self._constraints.source
        runner = Runner(loaded, capacity, self._shelf, eager=eager, constraints=constraints, draft=guesser)
        runner.warm_up()
        speculator = Speculator(NgramProposer() if guesser is None else None, Control(MAX_SPECULATION))
        scheduler = Scheduler(runner.capacity, PATIENCE, speculator=speculator)
        for adapter in self._shelf.adapters:
            scheduler.adapter_fetched(adapter.footprint)
        self.spec = loaded.spec
        self._steps = Steps(scheduler, runner, depth=2 if chosen.type == "cuda" else 1)
        self._serial = itertools.count()

    def close(self) -> None:
        """Ends the process that compiles constraints, if there is one; so does the object's own end."""
        self._close()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | None = None,
        *,
        adapter: Adapter | Sequence[Adapter] = None,
    ) -> list[Completion]:
        """One answer to each prompt, in order. adapter: for all prompts, or one each."""
        ids = [self._texts.encode(prompt) for prompt in prompts]
        pieces: list[list[Piece]] = [[] for _ in ids]
        for piece in self.stream(ids, sampling, adapter=adapter):
            pieces[piece.index].append(piece)
        return [_completion(prompt, news) for prompt, news in zip(ids, pieces, strict=True)]

    def stream(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling | None = None,
        *,
        adapter: Adapter | Sequence[Adapter] = None,
    ) -> Generator[Piece]:
        """News of all answers as they come. Who stops listening ends those that are left.

        Raises InvalidRequest or ConstraintRefused, before the first piece, for what can never be served.
        """
        sampling = sampling or Sampling()
        ids = [self._texts.encode(prompt) for prompt in prompts]
        params = [self._params(sampling, index) for index in range(len(ids))]
        writers = [self._texts.writer(prompt, sampling.stop) for prompt in ids]
        ended: set[int] = set()
        with self._compiled(sampling.constraint):
            digests = self._adapters(adapter, len(ids))
            for index, output in self._run(ids, params, digests, beams=sampling.beams, ended=ended):
                if output.beams:
                    found = [_found(beam, self._texts.writer(ids[index], sampling.stop)) for beam in output.beams]
                    piece = _of_search(index, output, found)
                else:
                    piece = _piece(index, output, writers[index])
                if piece.finish is not None:
                    ended.add(index)
                yield piece

    def embed(
        self,
        prompts: Sequence[Prompt],
        *,
        adapter: Adapter | Sequence[Adapter] = None,
        pooling: Pooling = Pooling.MEAN,
    ) -> Tensor:
        """Vectors of length 1, of the last hidden states: [prompts, hidden] float32, on the host."""
        ids = [self._texts.encode(prompt) for prompt in prompts]
        vectors = torch.empty(len(ids), self.spec.hidden_size)
        params = [SamplingParams(max_tokens=0, temperature=0.0)] * len(ids)
        for index, output in self._run(ids, params, self._adapters(adapter, len(ids)), pooling=pooling):
            if output.embedding:
                vectors[index] = torch.frombuffer(bytearray(output.embedding), dtype=torch.float32)
        return vectors

    def _params(self, sampling: Sampling, index: int) -> SamplingParams:
        params = sampling.params(index, self.spec.eos_token_ids)
        if sampling.beams is not None and sampling.beams.width + len(params.stop_token_ids) > self.spec.vocab_size:
            raise InvalidRequest(
                f"beams have a width of {sampling.beams.width}, which with {len(params.stop_token_ids)} stop tokens is "
                f"over the vocabulary's {self.spec.vocab_size}; search for fewer."
            )
        return params

    @contextmanager
    def _compiled(self, constraint: Constraint | None) -> Iterator[None]:
        if constraint is None:
            yield
            return
        try:
            self._constraints.cache.lease(constraint).result()
            yield
        finally:
            self._constraints.cache.release(constraint)

    def _adapters(self, adapter: Adapter | Sequence[Adapter], count: int) -> list[str | None]:
        """Digests."""
        names = [adapter] * count if adapter is None or isinstance(adapter, str) else list(adapter)
        if len(names) != count:
            raise ValueError(f"{len(names)} adapters for {count} prompts: give one, or one for each prompt")
        return [None if name is None else self._shelf.digest(name) for name in names]

    def _run(
        self,
        prompts: Sequence[tuple[int, ...]],
        params: Sequence[SamplingParams],
        digests: Sequence[str | None],
        *,
        pooling: Pooling | None = None,
        beams: BeamParams | None = None,
        ended: Set[int] = frozenset(),
    ) -> Iterator[tuple[int, Output]]:
        """News by the prompt's index, until all have ended. The caller may add to `ended` whom it needs no more."""
        live: dict[str, int] = {}
        try:
            for index, (prompt, sampling, digest) in enumerate(zip(prompts, params, digests, strict=True)):
                name = str(next(self._serial))
                arrival = time.monotonic()
                request = Request(
                    name, prompt, sampling, digest, NAMESPACE, arrival=arrival, pooling=pooling, beams=beams
                )
                self._steps.add(request)
                live[name] = index
            while live:
                self._steps.advance()
                for name, index in tuple(live.items()):
                    for output in self._steps.take(name):
                        if output.error is not None:
                            raise output.error
                        yield index, output
                        if output.finish is not None or index in ended:
                            del live[name]
                            self._steps.drop(name)
                            break
        finally:
            for name in live:
                self._steps.drop(name)


def _piece(index: int, output: Output, writer: Writer) -> Piece:
    text, tokens = _written(output.tokens, writer, last=output.finish is not None)
    finish = FinishReason.STOP if writer.stopped else output.finish
    return Piece(index, text, tokens, finish, output.prompt, output.usage)


def _found(beam: Beam, writer: Writer) -> Found:
    text, tokens = _written(beam.tokens, writer, last=True)
    return Found(text, tokens, FinishReason.STOP if writer.stopped else beam.finish, beam.score)


def _written(tokens: tuple[SampledToken, ...], writer: Writer, *, last: bool) -> tuple[str, tuple[SampledToken, ...]]:
    """Tokens that come together are read one by one: what is behind a stop is none of the answer."""
    text = "" if tokens else writer.feed([], last=last)
    for count, token in enumerate(tokens, 1):
        text += writer.feed([token.token_id], last=last and count == len(tokens))
        if writer.stopped:
            return text, tokens[:count]
    return text, tokens


def _of_search(index: int, output: Output, found: Sequence[Found]) -> Piece:
    best = found[0]
    return Piece(index, best.text, best.tokens, best.finish, usage=output.usage, beams=tuple(found))


def _completion(prompt: tuple[int, ...], pieces: Sequence[Piece]) -> Completion:
    tokens: list[SampledToken] = [token for piece in pieces for token in piece.tokens]
    told = tuple(token for piece in pieces for token in piece.prompt)
    finish = pieces[-1].finish
    assert finish is not None, "the last piece has the end"
    text = "".join(piece.text for piece in pieces)
    usage = [piece.usage for piece in pieces if piece.usage is not None][-1]
    accepted = min(usage.accepted_tokens, max(0, len(tokens) - 1))  # less those behind a stop; no first one is a guess
    return Completion(prompt, text, tuple(tokens), finish, told, usage.drafted_tokens, accepted, pieces[-1].beams)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise StartError(f"device={name!r} is unknown; use auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise StartError("device='cuda' but torch finds no CUDA device; install a driver, or use cpu or auto.")
    cuda = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")


def _default_settings(device: torch.device, adapters: int) -> RunnerSettings:
    if device.type == "cuda":
        return RunnerSettings(max_num_seqs=256, max_num_batched_tokens=8192, max_adapters=min(adapters, 64))
    return RunnerSettings(max_num_seqs=64, max_num_batched_tokens=2048, max_adapters=min(adapters, 8))
