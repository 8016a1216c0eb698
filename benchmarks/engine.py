"""The engine on CPU beside transformers and PEFT: the demo model, 32 requests at once, all in one run.

usage: python -m benchmarks.engine [--rows 32] [--output-tokens 64] [--repeats 5] [--threads N]

Two kinds of workload, each on the base model (against `generate`) and with the demo's adapters mixed (against PEFT's
`adapter_names`), greedy, float32, the same prompts:

- fixed: 32 requests of 64 output tokens each, end-of-text ignored: one static batch on the other side, at its best.
- traffic: 128 requests, each on its task's adapter or all on the base, that end where the model ends them, or at 64
  tokens. 32 run at once: the other side takes them in static batches of 32 in order of arrival.

Repeats are interleaved and the fastest of each side compared, since other work on the machine only ever adds time; the
same for the CPU time of the process. The tokens of both sides are compared too. Writes benchmarks/results/cpu.json and
cpu.png.
"""

import argparse
import random
import sys
import time

import torch
from transformers import AutoTokenizer

from benchmarks.commit import ROOT
from benchmarks.report import Row, write
from benchmarks.sides import Chorus, Peers, Tokens, Workload
from chorus_engine.startup import default_threads

DEMO = ROOT / "examples" / "demo"
BATCHES = 4  # of traffic


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    folders = sorted(path for path in (DEMO / "adapters").iterdir() if path.is_dir())
    chorus = Chorus(DEMO / "model", folders, arguments.rows)
    peers = Peers(DEMO / "model", folders, arguments.rows)
    works = workloads(arguments.rows, arguments.output_tokens, chorus.end_of_text)
    write([compare(work, chorus, peers, arguments.repeats) for work in works], arguments.threads, arguments.repeats)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="requests that run at once (32)")
    parser.add_argument("--output-tokens", type=int, default=64, help="most tokens of an answer (64)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side, interleaved (5)")
    parser.add_argument(
        "--threads", type=int, default=default_threads(), help="torch threads of both sides (the engine's default)"
    )
    return parser.parse_args()


def workloads(rows: int, tokens: int, end_of_text: tuple[int, ...]) -> list[Workload]:
    names, prompts = demo_requests(rows * BATCHES)
    fixed, fixed_names = prompts[:rows], names[:rows]
    return [
        Workload("base, fixed", fixed, None, tokens, ()),
        Workload("mixed, fixed", fixed, fixed_names, tokens, ()),
        Workload("base, traffic", prompts, None, tokens, end_of_text),
        Workload("mixed, traffic", prompts, names, tokens, end_of_text),
    ]


def demo_requests(count: int) -> tuple[list[str], Tokens]:
    """Adapters and chat prompts of the demo's tasks, as many of each, in a fixed order that mixes them."""
    sys.path.insert(0, str(DEMO))
    from tasks import TASKS

    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    each = -(-count // len(TASKS))
    examples = [(name, example) for name, task in TASKS.items() for example in task.examples("test", each)]
    random.Random(0).shuffle(examples)
    chats = [[{"role": "user", "content": example.prompt}] for _, example in examples[:count]]
    texts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return [name for name, _ in examples[:count]], [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def compare(work: Workload, chorus: Chorus, peers: Peers, repeats: int) -> Row:
    mine, other = chorus.generate(work), peers.generate(work)  # warm up, and compare what they say
    wall: dict[str, list[float]] = {"chorus": [], "peers": []}
    cpu: dict[str, list[float]] = {"chorus": [], "peers": []}
    for repeat in range(repeats):
        for side, generate in (("chorus", chorus.generate), ("peers", peers.generate)):
            began, used = time.perf_counter(), time.process_time()
            generate(work)
            wall[side].append(time.perf_counter() - began)
            cpu[side].append(time.process_time() - used)
        print(f"{work.name}: run {repeat + 1} of {repeats}", flush=True)
    ours, theirs = sum(map(len, mine)) / min(wall["chorus"]), sum(map(len, other)) / min(wall["peers"])
    return Row(
        workload=work.name,
        requests=len(mine),
        output_tokens=sum(map(len, mine)),
        adapters=len(set(work.adapters or ())),
        chorus_tokens_per_s=round(ours, 1),
        reference="PEFT adapter_names" if work.adapters else "transformers generate",
        reference_tokens_per_s=round(theirs, 1),
        ratio=round(ours / theirs, 2),
        cpu_time_ratio=round(min(cpu["peers"]) / min(cpu["chorus"]), 2),
        aim=5.0 if work.adapters else 1.5,
        sequences_equal=sum(a == b for a, b in zip(mine, other, strict=True)),
    )


if __name__ == "__main__":
    main()
