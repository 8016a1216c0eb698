"""From what a client asks for to the jobs that answer it, within the model's context and the tenant's limits."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from chorus_gateway.ask import Ask, ChatPrompt, Prompt
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import Job, ResolvedModel, Sampling, Tenant, Usage

_SEEDS = 1 << 64
MAX_BEAM_TOKENS = 16_384  # of all answers of a search, which an engine sends at once


# A normalizer may shorten a text before it is cut into tokens, by less than this.
_NORMALIZED = 4


def refuse_hopeless(ask: Ask, model: ResolvedModel, longest_token: int) -> None:
    """InvalidRequest for a prompt so long that no tokenizer's luck would make it fit, before time is spent on it.

    longest_token: characters of the vocabulary's longest token.
    """
    for prompt in ask.prompts:
        refuse_hopeless_prompt(prompt, model, longest_token, ask.prompt_field)


def refuse_hopeless_prompt(prompt: Prompt, model: ResolvedModel, longest_token: int, field: str) -> None:
    context = model.base.max_model_len
    if isinstance(prompt, tuple) and len(prompt) > context:
        raise _too_long(
            f"This model's maximum context length is {context} tokens, but the prompt has {len(prompt)} tokens: shorten"
            " the prompt.",
            field,
        )
    least = _characters(prompt) // (_NORMALIZED * longest_token)
    if least >= context:
        raise _too_long(
            f"This model's maximum context length is {context} tokens, but the prompt has at least {least} tokens and"
            " one more is needed for the answer: shorten the prompt.",
            field,
        )


def _characters(prompt: Prompt) -> int:
    """Of text that is to be cut into tokens."""
    if isinstance(prompt, ChatPrompt):
        return sum(len(message["content"]) for message in prompt.messages)
    return len(prompt) if isinstance(prompt, str) else 0


def plan_jobs(
    ask: Ask,
    tenant: Tenant,
    model: ResolvedModel,
    prompts: Sequence[tuple[int, ...]],
    *,
    deadline: float,
    default_max_tokens: int,
    largest: Callable[[int, int], int | None],
) -> list[Job]:
    """n jobs for each prompt, in order. InvalidRequest when a prompt is empty or does not fit the context.

    `largest`: of a prompt's tokens and a number of answers, the most tokens of each that quotas could ever grant.
    """
    _check_beams(ask)
    jobs: list[Job] = []
    for prompt in prompts:
        most = _max_tokens(ask, model, len(prompt), default_max_tokens, largest)
        if ask.sampling.min_tokens > most:
            raise InvalidRequest(
                f"min_tokens: {ask.sampling.min_tokens} is more than the {most} tokens that the answer may have.",
                param="min_tokens",
            )
        for number in range(ask.n):
            sampling = replace(ask.sampling, max_tokens=most, seed=_seed(ask.sampling, number))
            job = Job(
                request_id=f"{ask.request_id}-{len(jobs)}",
                tenant=tenant,
                model=model,
                prompt=prompt,
                sampling=sampling,
                band=ask.band,
                deadline=deadline,
                pooling=ask.pooling,
                beams=ask.beams,
                cache_key=ask.cache_key,
            )
            jobs.append(job)
    return jobs


def upper_bound(jobs: Sequence[Job], n: int) -> Usage:
    """Most that the jobs can be billed: each prompt once, each answer in full."""
    return Usage(sum(len(job.prompt) for job in jobs[::n]), sum(job.sampling.max_tokens for job in jobs))


def _check_beams(ask: Ask) -> None:
    """InvalidRequest for what a search does not know how to keep to."""
    constraint = ask.sampling.constraint
    if ask.beams is None:
        return
    if constraint is not None:
        raise InvalidRequest(
            f"{constraint.param}: an answer that must have a form cannot be searched for by beams: leave out"
            " use_beam_search.",
            param=constraint.param,
        )
    if (ask.max_tokens or 0) * ask.n > MAX_BEAM_TOKENS:
        raise InvalidRequest(
            f"{ask.max_tokens_field}: {ask.n} beams of {ask.max_tokens} tokens are over the {MAX_BEAM_TOKENS} that a"
            " beam search may have in all: ask for fewer beams or tokens.",
            param=ask.max_tokens_field,
        )


def _max_tokens(
    ask: Ask, model: ResolvedModel, prompt: int, default: int, largest: Callable[[int, int], int | None]
) -> int:
    context = model.base.max_model_len
    if prompt == 0:
        raise InvalidRequest("The prompt has no tokens: it needs at least one.", param=ask.prompt_field)
    if ask.max_tokens == 0:
        if prompt > context:
            raise _too_long(
                f"This model's maximum context length is {context} tokens, but the prompt has {prompt} tokens: shorten"
                " it.",
                ask.prompt_field,
            )
        return 0
    if prompt >= context:
        raise _too_long(
            f"This model's maximum context length is {context} tokens, but the prompt has {prompt} tokens and one more"
            " is needed for the answer: shorten the prompt.",
            ask.prompt_field,
        )
    left = context - prompt
    if ask.beams is not None:
        default = min(default, MAX_BEAM_TOKENS // ask.n)
    if ask.max_tokens is None:
        # A true upper bound is reserved: one that could never be granted would refuse every request.
        granted = largest(prompt, ask.n)
        return min(left, default) if granted is None else min(left, default, granted)
    if ask.max_tokens > left:
        raise _too_long(
            f"This model's maximum context length is {context} tokens, but the prompt has {prompt} tokens and"
            f" {ask.max_tokens_field} asks for {ask.max_tokens} more: ask for at most {left}, or shorten the prompt.",
            ask.max_tokens_field,
        )
    return ask.max_tokens


def _too_long(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="context_length_exceeded")


def _seed(sampling: Sampling, number: int) -> int | None:
    """The answers to one prompt differ, each in a way that the seed repeats."""
    return None if sampling.seed is None else (sampling.seed + number) % _SEEDS
