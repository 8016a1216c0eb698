"""What a client asks for, as `api` parsed it and before anything was looked up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chorus_gateway.tools import ToolUse
from chorus_gateway.values import Band, BeamSearch, Pooling, Sampling


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages and tools as the model's chat template takes them: {"role": …, "content": text, …}."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    field: str = "messages"  # of the request, for errors


# Text is tokenized with the tokenizer's own special tokens; token ids are taken as they are.
Prompt = ChatPrompt | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One HTTP request for text.

    Every prompt is answered `n` times; choice i answers prompt i // n. `max_tokens` None means what the context leaves.
    `sampling.max_tokens` is not read: the pipeline sets it once the prompt's length is known.
    """

    request_id: str
    authorization: str | None
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"  # the field that the client set it with, for errors
    prompt_field: str = "messages"
    n: int = 1
    stop: tuple[str, ...] = ()
    include_stop: bool = False  # deliver the stop string too
    skip_special_tokens: bool = True
    pooling: Pooling | None = None  # the answers are embeddings; `max_tokens` is then 0
    beams: BeamSearch | None = None  # its width is `n`
    echo: bool = False  # deliver the prompt too, in front of its answers
    tools: ToolUse | None = None  # calls of these are read out of the answers
    band: Band = Band.DEFAULT
    any_band: bool = False  # the client leaves the choice to the gateway
    timeout: float = math.inf  # seconds from arrival to the last token
    client: str = ""  # the address that it comes from
    cache_key: str = ""  # of the tenant's own naming: prompts of one likely begin alike
    user: str = ""  # of the tenant's own naming; empty when the client names none
    trace: Mapping[str, str] = field(default_factory=dict)  # W3C traceparent and tracestate headers, as they came
