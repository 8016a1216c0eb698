import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from chorus_kernels.sampling import Bias, Penalties, RandomRows, SamplingBatch, gumbel, sample, top_logprobs
from chorus_kernels.sampling.noise import hash_bits


def random_rows(
    device: torch.device,
    seeds: Sequence[int],
    positions: Sequence[int],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    rows: Sequence[int] | None = None,
) -> RandomRows:
    def each(value: float | None, dtype: torch.dtype) -> torch.Tensor | None:
        return None if value is None else torch.full((len(seeds),), value, dtype=dtype, device=device)

    warmth = each(temperature, torch.float32)
    assert warmth is not None
    return RandomRows(
        rows=None if rows is None else torch.tensor(rows, device=device),
        temperature=warmth,
        seeds=torch.tensor(seeds, device=device),
        positions=torch.tensor(positions, device=device),
        top_k=each(top_k, torch.int64),
        largest_top_k=top_k or 0,
        top_p=each(top_p, torch.float32),
        min_p=each(min_p, torch.float32),
    )


AT_ONCE = 2_000  # draws; more would spend their time on getting memory


def drawn(logits: torch.Tensor, draws: int, **options: float) -> list[int]:
    """How often each token is drawn from one row of logits."""
    counts = torch.zeros(logits.shape[-1], dtype=torch.int64, device=logits.device)
    for first in range(0, draws, AT_ONCE):
        positions = range(first, min(first + AT_ONCE, draws))
        seeds = [7] * len(positions)
        random = random_rows(logits.device, seeds, positions, **options)  # type: ignore[arg-type] # top_k is int
        tokens = sample(logits.expand(len(positions), -1), SamplingBatch(random=random))
        counts += torch.bincount(tokens, minlength=len(counts))
    return counts.tolist()


def chi_square(counts: Sequence[int], probabilities: Sequence[float]) -> float:
    total = sum(counts)
    return sum((c - total * p) ** 2 / (total * p) for c, p in zip(counts, probabilities, strict=True))


def test_greedy_takes_the_likeliest(device: torch.device) -> None:
    logits = torch.randn(5, 97, device=device)
    assert torch.equal(sample(logits, SamplingBatch()), logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(device: torch.device, temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -2.0], device=device)
    counts = drawn(logits, 20_000, temperature=temperature)
    probabilities = (logits.double() / temperature).softmax(-1).tolist()
    assert chi_square(counts, probabilities) < 20.5  # the 99.9th percentile for 5 degrees of freedom


@pytest.mark.slow
def test_unlikely_tokens_are_drawn_as_often_as_they_should(device: torch.device) -> None:
    logits = torch.zeros(4096, device=device)
    logits[0] = 16.0  # the others share 4095 / (4095 + e^16) = 4.6e-4
    others = sum(drawn(logits, 50_000)[1:])
    assert 23 - 4 * 4.8 < others < 23 + 4 * 4.8  # four standard deviations


def test_noise_is_gumbel(device: torch.device) -> None:
    noise = gumbel(torch.arange(50, device=device), torch.arange(50, device=device), 2000).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.03)


def test_hash_bits_are_these_on_every_device(device: torch.device) -> None:
    bits = hash_bits(torch.tensor([0, 1, -1, 2**62], device=device), torch.tensor([0, 5, 5, 9], device=device), 3)
    assert bits.tolist() == [
        [1267780416, -1163994672, -1260256082],
        [-1828966129, -757620572, 1965873848],
        [45417549, 635649397, -303215400],
        [-71414190, -118230072, -81266536],
    ]


def test_hash_agrees_with_plain_integers() -> None:
    seeds, positions = [0, 3, -5, 2**63 - 1], [0, 1, 2047, 100_000]
    bits = hash_bits(torch.tensor(seeds), torch.tensor(positions), 50)
    for row, (seed, position) in enumerate(zip(seeds, positions, strict=True)):
        for token in range(50):
            assert bits[row, token].item() % 2**32 == plain_hash(seed % 2**64, position, token)


def plain_hash(seed: int, position: int, token: int) -> int:
    key = mix_64((mix_64((seed + 0x9E3779B97F4A7C15) % 2**64) + position * 0x9E3779B97F4A7C15) % 2**64)
    return mix_32(mix_32((token * 0x9E3779B9 % 2**32) ^ (key % 2**32)) ^ (key >> 32))


def mix_64(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def mix_32(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
    return x ^ (x >> 16)


def test_a_seed_draws_the_same_in_every_batch(device: torch.device) -> None:
    logits = torch.randn(8, 301, device=device)
    seeds, positions = list(range(8)), list(range(10, 18))
    together = sample(logits, SamplingBatch(random=random_rows(device, seeds, positions)))
    for row in range(8):
        alone = sample(logits[row : row + 1], SamplingBatch(random=random_rows(device, [row], [10 + row])))
        assert alone.item() == together[row].item()
    some = random_rows(device, [5, 2], [15, 12], rows=[5, 2])
    mixed = sample(logits, SamplingBatch(random=some))
    assert mixed[[5, 2]].tolist() == together[[5, 2]].tolist()
    assert mixed[[0, 1, 3]].tolist() == logits[[0, 1, 3]].argmax(-1).tolist()


def test_a_seed_draws_the_same_beside_filtered_rows(device: torch.device) -> None:
    logits = torch.randn(4, 301, device=device).bfloat16()
    plain = random_rows(device, [0, 1, 2, 3], [5, 6, 7, 8], temperature=0.8)
    top_p = torch.tensor([1.0, 0.1, 1.0, 0.5], device=device)
    filtered = sample(logits, SamplingBatch(random=replace(plain, top_p=top_p)))
    assert filtered[[0, 2]].equal(sample(logits, SamplingBatch(random=plain))[[0, 2]])


def test_seed_and_position_both_matter(device: torch.device) -> None:
    random = random_rows(device, [1, 1, 2, 2], [1, 2, 1, 2])
    draws = sample(torch.zeros(4, 5000, device=device), SamplingBatch(random=random))
    assert len(set(draws.tolist())) == 4


def test_filters_keep_what_they_should(device: torch.device) -> None:
    probabilities = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], device=device)
    logits = probabilities.log()

    def support(**options: float) -> list[int]:
        return [token for token, count in enumerate(drawn(logits, 2000, **options)) if count]

    assert support() == [0, 1, 2, 3, 4]
    assert support(top_k=2) == [0, 1]
    assert support(top_p=0.6) == [0, 1]
    assert support(top_p=0.75) == [0, 1, 2]
    assert support(top_p=0.01) == [0]
    assert support(top_k=3, top_p=0.85) == [0, 1, 2]  # of the three that remain, two hold 0.82
    assert support(min_p=0.3) == [0, 1, 2]
    assert support(min_p=1.0) == [0]
    assert support(top_p=1.0, top_k=5, min_p=0.0) == [0, 1, 2, 3, 4]


def test_a_top_p_too_small_for_float32_keeps_the_likeliest(device: torch.device) -> None:
    logits = torch.tensor([1.0, 3.0, 2.0], device=device)
    assert drawn(logits, 8, top_p=1e-320) == [0, 8, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{"top_p": 0.5}, {"top_k": 2}, {"min_p": 0.5}, {"top_k": 2, "top_p": 0.5}, {}])
def test_rows_that_are_not_finite_disturb_no_other(
    device: torch.device, value: float, options: dict[str, float]
) -> None:
    logits = torch.randn(3, 32, device=device)
    batch = SamplingBatch(random=random_rows(device, [1, 2, 3], [4, 5, 6], **options))  # type: ignore[arg-type]
    alone = sample(logits, batch)
    logits[1] = value
    together = sample(logits, batch)
    assert together[[0, 2]].equal(alone[[0, 2]])
    assert 0 <= together[1] < 32


def test_filtered_draws_follow_the_renormalised_softmax(device: torch.device) -> None:
    logits = torch.tensor([1.5, 1.0, 0.5, 0.0, -0.5], device=device)
    counts = drawn(logits, 20_000, top_k=3)
    assert chi_square(counts[:3], logits[:3].double().softmax(-1).tolist()) < 13.8  # 99.9% for 2 degrees
    assert counts[3:] == [0, 0]


def test_penalties_and_bias(device: torch.device) -> None:
    logits = torch.randn(3, 40, device=device) * 3
    before = logits.clone()
    counts = torch.zeros(2, 40, dtype=torch.int32, device=device)
    counts[0, 5], counts[1, 7] = 2, 1
    in_prompt = torch.zeros(2, 40, dtype=torch.bool, device=device)
    in_prompt[1, 9] = True
    penalties = Penalties(
        rows=torch.tensor([0, 2], device=device),
        presence=torch.tensor([0.5, -1.0], device=device),
        frequency=torch.tensor([0.25, 0.0], device=device),
        repetition=torch.tensor([1.0, 1.7], device=device),
        output_counts=counts,
        in_prompt=in_prompt,
    )
    bias = Bias(
        rows=torch.tensor([1, 1, 2], device=device),
        tokens=torch.tensor([3, 4, 8], device=device),
        values=torch.tensor([50.0, -torch.inf, 2.5], device=device),
    )
    expected = before.double()
    expected[0, 5] -= 0.5 + 2 * 0.25
    for token in (7, 9):
        expected[2, token] = expected[2, token] * 1.7 if expected[2, token] < 0 else expected[2, token] / 1.7
    expected[2, 7] += 1.0
    expected[1, 3] += 50
    expected[1, 4] = -torch.inf
    expected[2, 8] += 2.5
    assert sample(logits, SamplingBatch(penalties, bias)).tolist() == expected.argmax(-1).tolist()
    for row, token in ((0, 5), (2, 7), (2, 9), (2, 8)):
        assert_penalised(before, SamplingBatch(penalties, bias), expected, row, token)
    assert torch.equal(logits, before)


def assert_penalised(logits: torch.Tensor, batch: SamplingBatch, expected: torch.Tensor, row: int, token: int) -> None:
    """The token wins when its row's other logits lie just below its expected value, and loses just above."""
    for margin, wins in ((-1e-3, True), (1e-3, False)):
        rivals = logits.clone()
        rival = (token + 20) % 40
        rivals[row] = -100.0
        rivals[row, token] = logits[row, token]
        rivals[row, rival] = expected[row, token].float() + margin
        assert (sample(rivals, batch)[row].item() == token) == wins


def test_logprobs_are_those_of_the_untouched_softmax(device: torch.device) -> None:
    logits = torch.randn(4, 61, device=device) * 4
    tokens = torch.tensor([3, 60, 0, 17], device=device)
    chosen, top, ids = top_logprobs(logits, tokens, 5)
    expected = logits.double().log_softmax(-1)
    torch.testing.assert_close(chosen.double(), expected.gather(1, tokens[:, None])[:, 0], rtol=1e-6, atol=1e-6)
    ordered = expected.sort(descending=True)
    torch.testing.assert_close(top.double(), ordered.values[:, :5], rtol=1e-6, atol=1e-6)
    assert torch.equal(ids, ordered.indices[:, :5])


def test_no_likeliest_tokens_asked(device: torch.device) -> None:
    chosen, top, ids = top_logprobs(torch.zeros(2, 4, device=device), torch.tensor([0, 1], device=device), 0)
    assert chosen.tolist() == pytest.approx([-math.log(4)] * 2)
    assert top.shape == ids.shape == (2, 0)
