"""The answers of a beam search, which come from one job and at once."""

from collections.abc import Sequence

from chorus_gateway.choice import Choice
from chorus_gateway.errors import GatewayError
from chorus_gateway.values import Delta


class BeamSink:
    """Of the job that all choices of a prompt share: each is given its answer as if it had come alone."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._choices = choices

    def dispatched(self) -> str:
        first, *_ = [choice.dispatched() for choice in self._choices]
        return first

    def delta(self, delta: Delta) -> bool:
        """Before the end there is only usage, which is none of the client's."""
        if delta.finish is not None:
            for choice, beam in zip(self._choices, delta.beams, strict=True):
                choice.delta(Delta(beam.token_ids, beam.logprobs, beam.finish, delta.usage, delta.timing))
        return True

    def failed(self, error: GatewayError) -> None:
        self._choices[0].failed(error)
