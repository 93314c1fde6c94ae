"""What a run holds in memory as its seeds grow in number: the flow is measured, not the models.

    python benchmarks/many_seeds.py --data DIR --seeds 100000 1000000 --out …/many_seeds.json
    … --without-forward-passes     # memory alone, in a third of the time: scores are made up

Prompts and responses are distinct real texts, put together at random: sentences and pairs of them,
of DIR (prompt_vectors.py says how). The models are the smallest that load: one layer of width 16,
random weights. Each size is a run in a process of its own; its memory is that of no file (RssAnon),
so that mapped vectors do not count, as the largest seen in each stage. The smallest size, of 1,000
seeds, shows what models, libraries and code take.
"""

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prompt_vectors import texts
from timing import machine, versions

BASE = 1000
SETTINGS = {
    "score.samples": 4,
    "select.top": 64,
    "generate.per_parent": 8,
    "generate.policy_samples": 0,
    "keep.probes": 16,
    "keep.near": 2,
    "keep.variance_prompts": 2,
    "keep.variance_samples": 2,
}
BUDGET = 64


def write_seeds(path: Path, found: list[str]) -> None:
    """Each text as a prompt, with the two before it as its responses."""
    with path.open("w", encoding="utf-8") as out:
        for number, prompt in enumerate(found):
            row = {"prompt": prompt, "chosen": found[number - 1], "rejected": found[number - 2]}
            out.write(json.dumps(row) + "\n")


def write_models(folder: Path) -> dict[str, str]:
    """A policy and a reward model of one layer; the bundled embedder is as small."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        LlamaConfig,
    )

    from seamaug.resources import EMBEDDED, resource

    tokenizer = AutoTokenizer.from_pretrained(resource("embedded", "policy"))
    own = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32,
           "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 512,
           "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 1}  # fmt: skip
    for role, kind, labels in (
        ("policy", AutoModelForCausalLM, {}),
        ("reward", AutoModelForSequenceClassification, {"num_labels": 1}),
    ):
        torch.manual_seed(0)
        kind.from_config(LlamaConfig(**own, **labels)).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return {"policy": str(folder / "policy"), "reward": str(folder / "reward"),
            "embedder": EMBEDDED}  # fmt: skip


@contextmanager
def largest_by_stage() -> Iterator[dict[str, int]]:
    """Bytes of memory that is no file's, the most seen in each stage of the run's clock."""
    from seamaug.clock import clock

    found: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            stage = clock._stack[-1][0]
            found[stage] = max(found.get(stage, 0), anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def anonymous() -> int:
    """Bytes of this process's memory that are no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not say RssAnon")


def make_scores_up() -> None:
    """In place of what the models make of a batch, which takes memory by its size alone."""
    from seamaug.models.engines import Logprob
    from seamaug.models.policy import Policy
    from seamaug.models.reward import RewardModel

    def logprobs(_: Any, sets: Any) -> Any:
        return [[Logprob(-float(sum(ids) % 97), len(ids)) for ids in own] for _, own in sets]

    def rewards(_: Any, sets: Any) -> Any:
        return [[float(sum(ids) % 89) for ids in own] for own in sets]

    Policy.logprobs, RewardModel.rewards = logprobs, rewards


def measure(seeds: Path, models: dict[str, str], made_up: bool, send: Any) -> None:
    """One run; sends what it took."""
    import torch

    from seamaug import expand

    torch.set_num_threads(1)
    if made_up:
        make_scores_up()
    began = time.process_time()
    with largest_by_stage() as memory:
        result = expand(
            str(seeds), out=seeds.with_suffix(""), budget=BUDGET, settings=SETTINGS, **models
        )
    send.send(
        {
            "seeds": result.summary["counts"]["seeds"]["total"],
            "cpu_seconds": round(time.process_time() - began, 1),
            "seconds_by_stage": {
                stage: round(sum(kinds.values()), 1)
                for stage, kinds in result.summary["times"].items()
            },
            "mib_by_stage": {stage: round(size / 2**20) for stage, size in memory.items()},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[5_000, 10_000])
    parser.add_argument(
        "--data", type=Path, help="folder of *.jsonl.gz; default: the bundled seeds"
    )
    parser.add_argument("--without-forward-passes", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sizes, made_up = [BASE, *arguments.seeds], arguments.without_forward_passes
    found = texts(arguments.data, max(sizes))  # shuffled: each size has a random part of them
    if len(found) < max(sizes):
        raise SystemExit(f"there are only {len(found):,} texts: name more by --data")
    context = multiprocessing.get_context("spawn")
    results = []
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/many_seeds.py {'--data DIR ' if arguments.data else ''}"
        f"--seeds {' '.join(map(str, arguments.seeds))}"
        f"{' --without-forward-passes' * arguments.without_forward_passes}",
        "machine": machine("cpu"),
        "versions": versions(),
    }
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder))
        for count in sizes:
            seeds = Path(folder) / f"{count}.jsonl"
            write_seeds(seeds, found[:count])
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(seeds, models, made_up, send))
            process.start()
            send.close()
            results.append(receive.recv())
            process.join()
            print(json.dumps(results[-1]), flush=True)
            if arguments.out:  # after each size: the largest may take an hour
                text = json.dumps(about | {"runs": results}, indent=1)
                arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
