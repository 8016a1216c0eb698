"""What a client saw of one run: when each token came."""

from dataclasses import dataclass, field
from statistics import median

SAMPLES = 50  # frames looked at where a look costs time


@dataclass(slots=True)
class Answer:
    prompt: int  # tokens
    wanted: int  # tokens
    asked: float = 0.0  # when it was there to be sent, seconds
    times: list[float] = field(default_factory=list)  # of each delta with tokens
    counts: list[int] = field(default_factory=list)  # tokens of each
    ended: float | None = None
    failure: str = ""
    cached: int = 0  # prompt tokens from the prefix cache

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    @property
    def first_token(self) -> float:
        """Seconds from asking to the first token."""
        return self.times[0] - self.asked

    def gaps(self) -> list[float]:
        """Seconds between neighbouring tokens; those that came together lie nothing apart."""
        found: list[float] = []
        for before, now, count in zip(self.times, self.times[1:], self.counts[1:], strict=False):
            found += [now - before] + [0.0] * (count - 1)
        return found + [0.0] * (self.counts[0] - 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the engine that carried tokens."""

    time: float
    most: int  # tokens of the request that got most
    running: int = 0
    free_blocks: int = 0
    total_blocks: int = 0


@dataclass(slots=True)
class Recording:
    answers: list[Answer]
    began: float = 0.0
    frames: list[Frame] = field(default_factory=list)

    def check(self) -> None:
        """Raises RuntimeError unless every request got all its tokens."""
        for number, answer in enumerate(self.answers):
            if answer.failure or answer.tokens != answer.wanted:
                raise RuntimeError(
                    f"request {number} got {answer.tokens} of {answer.wanted} tokens: {answer.failure or 'no error'}"
                )

    @property
    def seconds(self) -> float:
        """From the start to the last token."""
        return max(answer.times[-1] for answer in self.answers) - self.began

    @property
    def output_tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    @property
    def prompt_tokens(self) -> int:
        return sum(answer.prompt for answer in self.answers)

    def step_seconds(self) -> float | None:
        """Median time of a step that only decodes; of all steps where none is known to; None when there are none."""
        low = max(answer.times[0] for answer in self.answers)
        high = min(answer.times[-1] for answer in self.answers)
        pairs = list(zip(self.frames, self.frames[1:], strict=False))
        decoding = [(before, now) for before, now in pairs if low <= before.time < now.time <= high]
        steps = [(now.time - before.time) / now.most for before, now in decoding or pairs]
        return median(steps) if steps else None

    def wasted_share(self, block_size: int) -> float | None:
        """Token slots of held KV blocks that hold no token, over all of them, while all that runs decodes.

        None where no frame shows that.
        """
        held = used = 0
        for frame in self.frames[:: max(1, len(self.frames) // SAMPLES)]:
            lengths = [length for answer in self.answers if (length := _length(answer, frame.time))]
            if len(lengths) == frame.running:
                held += (frame.total_blocks - frame.free_blocks) * block_size
                used += sum(lengths)
        return 1 - used / held if held else None


def _length(answer: Answer, time: float) -> int:
    """Tokens of a request that decodes at `time`, one that is on its way included; 0 of one that does not."""
    if not answer.times or not answer.times[0] <= time < answer.times[-1]:
        return 0
    return answer.prompt + sum(count for when, count in zip(answer.times, answer.counts, strict=True) if when <= time)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
