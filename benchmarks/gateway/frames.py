"""The stub engine's deltas, as bytes that are made once: what is sent for a token is joined, not serialized."""

from itertools import cycle, islice

from chorus_proto.engine.v1 import engine_pb2 as pb

_LETTERS = range(70, 96)  # "a" to "z" in the demo's vocabulary; ids below 128 take one byte
_TOKENS = [b"\x1a\x01" + bytes([token]) for token in _LETTERS]  # Delta.token_ids
_DELTAS = b"\x12"  # EngineFrame.deltas


class Answer:
    """One submission's answer: `max_tokens` letters, of which `next` gives one more each time."""

    def __init__(self, submit: pb.Submit) -> None:
        self.tokens = submit.sampling.max_tokens
        # Microseconds a step; without a seed the whole answer is one delta.
        self.pause = submit.sampling.seed if submit.sampling.HasField("seed") else None
        self.key = submit.request_id, submit.attempt
        self._prompt = len(submit.prompt_token_ids)
        self._sent = 0
        self._id = pb.Delta(request_id=submit.request_id, attempt=submit.attempt)
        head = self._id.SerializeToString()
        self._head = _DELTAS + bytes([len(head) + len(_TOKENS[0])]) + head

    @property
    def ended(self) -> bool:
        return self._sent >= self.tokens

    def next(self) -> bytes:
        at = self._sent
        self._sent += 1
        if at and self._sent < self.tokens:
            return self._head + _TOKENS[at % len(_TOKENS)]
        return self._delta([_LETTERS[at % len(_LETTERS)]])

    def whole(self) -> bytes:
        self._sent = self.tokens
        return self._delta(list(islice(cycle(_LETTERS), self.tokens)))

    def cancelled(self) -> bytes:
        return self._delta([], pb.FINISH_REASON_CANCELLED)

    def _delta(self, tokens: list[int], finish: pb.FinishReason | None = None) -> bytes:
        """The first has usage, and the last all that ends a submission."""
        delta = pb.Delta(token_ids=tokens)
        delta.MergeFrom(self._id)
        delta.usage.prompt_tokens = self._prompt
        delta.usage.completion_tokens = self._sent
        delta.usage.computed_tokens = self._prompt + max(0, self._sent - 1)
        if self.ended or finish is not None:
            delta.finish_reason = finish or pb.FINISH_REASON_LENGTH
            delta.timing.queued_us, delta.timing.prefill_us, delta.timing.decode_us = 10, 100, 1000
        return pb.EngineFrame(deltas=[delta]).SerializeToString()
