import torch
import torch.nn.functional as F
from torch import Tensor

from chorus_kernels.sampling.batch import Bias, Penalties, RandomRows, SamplingBatch
from chorus_kernels.sampling.dispatch import draw


def sample(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """One token a row: the likeliest after penalties and bias, or a draw by temperature and filters.

    logits: [rows, vocab], left as they are; the result is [rows] int64.
    """
    if batch.penalties is not None or batch.bias is not None:
        logits = logits.to(torch.float32, copy=True)
    if batch.penalties is not None:
        _penalise(logits, batch.penalties)
    if batch.bias is not None:
        _add_bias(logits, batch.bias)
    random = batch.random
    if random is None:
        return logits.argmax(-1)
    if random.rows is None:
        return _draw(logits, random)
    tokens = logits.argmax(-1)
    return tokens.index_copy_(0, random.rows, _draw(logits[random.rows], random))


def top_logprobs(logits: Tensor, tokens: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Natural log probabilities of the drawn tokens, and the `count` likeliest tokens with theirs, likeliest first.

    logits: [rows, vocab], before penalties, bias, temperature and filters; tokens: [rows] int64.
    Results: [rows] float32, [rows, count] float32, [rows, count] int64.
    """
    logprobs = F.log_softmax(logits.float(), dim=-1)
    drawn = logprobs.gather(-1, tokens[:, None])[:, 0]
    top, ids = logprobs.topk(count, dim=-1)
    return drawn, top, ids


def _penalise(logits: Tensor, penalties: Penalties) -> None:
    rows = logits[penalties.rows]
    produced = penalties.output_counts > 0
    repetition = penalties.repetition[:, None]
    repeated = torch.where(rows > 0, rows / repetition, rows * repetition)
    rows = torch.where(produced | penalties.in_prompt, repeated, rows)
    rows -= penalties.frequency[:, None] * penalties.output_counts
    rows -= penalties.presence[:, None] * produced
    logits[penalties.rows] = rows


def _add_bias(logits: Tensor, bias: Bias) -> None:
    logits.index_put_((bias.rows, bias.tokens), bias.values, accumulate=True)


def _draw(logits: Tensor, random: RandomRows) -> Tensor:
    """One draw for filtered and plain rows, so that a seed draws the same beside either."""
    if random.top_k is not None or random.top_p is not None or random.min_p is not None:
        logits = logits.float()
        logits = logits.masked_fill(_filtered(logits, random) == -torch.inf, -torch.inf)
    return draw(logits, random.temperature, random.seeds, random.positions)


def _filtered(logits: Tensor, random: RandomRows) -> Tensor:
    """logits / temperature, -inf where a filter forbids the token: [random, vocab] float32."""
    scaled = logits / random.temperature[:, None]
    if random.top_p is not None:
        _keep_nucleus(scaled, random.top_p, random.top_k)
    elif random.top_k is not None:
        largest = scaled.topk(random.largest_top_k, dim=-1).values
        scaled.masked_fill_(scaled < largest.gather(-1, random.top_k[:, None] - 1), -torch.inf)
    if random.min_p is not None:
        least = scaled.amax(-1, keepdim=True) + random.min_p.log()[:, None]
        scaled.masked_fill_(scaled < least, -torch.inf)
    return scaled


def _keep_nucleus(logits: Tensor, top_p: Tensor, top_k: Tensor | None) -> None:
    """Leaves the k likeliest tokens, and of those the fewest that hold top_p of their probability; ties stay.

    The likeliest one stays always, also under a top_p that is 0 in float32, and of logits that are not finite.
    """
    ordered = logits.sort(dim=-1, descending=True).values
    if top_k is not None:
        place = torch.arange(logits.shape[-1], device=logits.device)
        ordered.masked_fill_(place >= top_k[:, None], -torch.inf)
    share = ordered.softmax(-1)
    before = share.cumsum(-1) - share  # probability of the likelier tokens
    wanted = torch.where(top_p < 1, top_p, torch.inf)[:, None]
    kept = ((before < wanted) & (ordered > -torch.inf)).sum(-1, keepdim=True).clamp_(min=1)
    logits.masked_fill_(logits < ordered.gather(-1, kept - 1), -torch.inf)
