"""The engine on CPU beside transformers and PEFT: 32 concurrent requests on the demo model, all in one run.

usage: python -m benchmarks.engine [--requests 32] [--output-tokens 64] [--repeats 5] [--threads N]

Rows: the base model against `generate` with a static batch, and the demo's adapters mixed in one batch (request i takes
adapter i mod N) against PEFT's `adapter_names`. Greedy, float32, the same prompts, end-of-text ignored, so that both
sides make the same number of tokens; repeats are interleaved and the medians compared. The tokens of both sides are
compared too. Writes benchmarks/results/cpu.json and cpu.png.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.in_process import InProcessEngine
from chorus_engine.core.request import Request, SamplingParams
from chorus_engine.runner import RunnerSettings

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "demo"
RESULTS = ROOT / "benchmarks" / "results"
Tokens = list[list[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One workload on both sides; rates are output tokens a second over the whole batch, prompts included."""

    workload: str
    adapters: int
    chorus_tokens_per_s: float
    reference: str
    reference_tokens_per_s: float
    ratio: float
    aim: float
    sequences_equal: int
    sequences: int


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    folders = sorted(path for path in (DEMO / "adapters").iterdir() if path.is_dir())
    prompts = demo_prompts(arguments.requests)
    names = [folders[i % len(folders)].name for i in range(arguments.requests)]
    chorus = Chorus(folders, arguments.output_tokens)
    peers = Peers(folders, arguments.output_tokens)
    rows = [
        compare("base", 0, 1.5, "transformers generate", arguments.repeats,
                lambda: chorus.generate(prompts, None), lambda: peers.generate(prompts, None)),
        compare("mixed adapters", len(folders), 5.0, "PEFT adapter_names", arguments.repeats,
                lambda: chorus.generate(prompts, names), lambda: peers.generate(prompts, names)),
    ]  # fmt: skip
    write(rows, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=32, help="concurrent requests (32)")
    parser.add_argument("--output-tokens", type=int, default=64, help="tokens each request produces (64)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, interleaved (5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads of both sides")
    return parser.parse_args()


def demo_prompts(count: int) -> Tokens:
    """Chat prompts of the demo's tasks, in a fixed order that mixes tasks and lengths."""
    sys.path.insert(0, str(DEMO))
    from tasks import TASKS

    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    examples = [example for task in TASKS.values() for example in task.examples("test", count)]
    random.Random(0).shuffle(examples)
    chats = [[{"role": "user", "content": example.prompt}] for example in examples[:count]]
    texts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


class Chorus:
    def __init__(self, folders: Sequence[Path], output_tokens: int) -> None:
        settings = RunnerSettings(max_num_seqs=64, max_adapters=len(folders))
        self._engine = InProcessEngine(DEMO / "model", folders, settings, torch.device("cpu"))
        self._digests = dict(zip([folder.name for folder in folders], self._engine.digests, strict=True))
        self._sampling = SamplingParams(max_tokens=output_tokens, temperature=0.0)

    def generate(self, prompts: Tokens, names: Sequence[str] | None) -> Tokens:
        requests = [
            Request(str(i), tuple(prompt), self._sampling, adapter=self._digests[names[i]] if names else None)
            for i, prompt in enumerate(prompts)
        ]
        answers = self._engine.generate(requests)
        return [answers[request.id] for request in requests]


class Peers:
    """transformers for the base, PEFT for mixed batches: left-padded static batches."""

    def __init__(self, folders: Sequence[Path], output_tokens: int) -> None:
        from peft import PeftModel

        self._output_tokens = output_tokens
        self._base = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
        model = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
        self._peft = PeftModel.from_pretrained(model, folders[0], adapter_name=folders[0].name)
        for folder in folders[1:]:
            self._peft.load_adapter(folder, adapter_name=folder.name)
        self._peft.eval()

    def generate(self, prompts: Tokens, names: Sequence[str] | None) -> Tokens:
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        count = self._output_tokens
        extra = {"adapter_names": list(names)} if names else {}
        model: Any = self._peft if names else self._base  # `generate` is typed for neither
        output = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count,
            do_sample=False, pad_token_id=0, eos_token_id=-1, **extra,
        )  # fmt: skip
        answers: Tokens = output[:, longest:].tolist()
        return answers


def compare(
    workload: str,
    adapters: int,
    aim: float,
    reference: str,
    repeats: int,
    ours: Callable[[], Tokens],
    theirs: Callable[[], Tokens],
) -> Row:
    mine, other = ours(), theirs()  # warm up, and compare what they say
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for side, run in zip(seconds, (ours, theirs), strict=True):
            began = time.perf_counter()
            run()
            side.append(time.perf_counter() - began)
        print(f"{workload}: run {repeat + 1} of {repeats}", flush=True)
    tokens = sum(len(answer) for answer in mine)
    rates = [tokens / statistics.median(side) for side in seconds]
    return Row(
        workload=workload,
        adapters=adapters,
        chorus_tokens_per_s=round(rates[0], 1),
        reference=reference,
        reference_tokens_per_s=round(rates[1], 1),
        ratio=round(rates[0] / rates[1], 2),
        aim=aim,
        sequences_equal=sum(a == b for a, b in zip(mine, other, strict=True)),
        sequences=len(mine),
    )


def write(rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    for row in rows:
        print(
            f"{row.workload:16} chorus {row.chorus_tokens_per_s:8.1f} tok/s   {row.reference} "
            f"{row.reference_tokens_per_s:8.1f} tok/s   {row.ratio:5.2f}x (aim {row.aim}x)   "
            f"{row.sequences_equal}/{row.sequences} sequences equal"
        )
    RESULTS.mkdir(exist_ok=True)
    report = {
        "commit": commit(),
        "machine": f"{platform.machine()}, {arguments.threads} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "requests": arguments.requests,
        "output_tokens": arguments.output_tokens,
        "rows": [asdict(row) for row in rows],
    }
    (RESULTS / "cpu.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(rows, RESULTS / "cpu.png")


def commit() -> str:
    """The commit that the figures belong to; a dirty tree is said so."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "kernels", "services", "benchmarks/*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return head.stdout.strip() + (" (dirty)" if changed.stdout.strip() else "")


def plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2))
    for offset, label, values in (
        (-0.2, "Chorus", [row.chorus_tokens_per_s for row in rows]),
        (0.2, "transformers / PEFT", [row.reference_tokens_per_s for row in rows]),
    ):
        bars = axes.barh([i + offset for i in range(len(rows))], values, 0.38, label=label)
        axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_yticks(range(len(rows)), [f"{row.workload}\n({row.ratio:.1f}x)" for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("output tokens a second, 32 concurrent requests, CPU")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
