"""What a run holds in memory as its seeds grow in number: the flow is measured, not the models.

    python benchmarks/many_seeds.py --seeds 20000 50000 --out benchmarks/results/many_seeds.json

Seeds are the bundled ones with their numbers and half of their words changed. The models are the
smallest that load: one layer of width 16, random weights. Each size is a run in a process of its
own; its memory is that of no file (RssAnon), so that mapped vectors do not count, as the largest
seen in each stage. The smallest size, of 1,000 seeds, shows what models, libraries and code take.
"""

import argparse
import gzip
import json
import multiprocessing
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


def write_seeds(path: Path, count: int) -> None:
    """Rows that differ in their numbers, and in half of their words from those of the same seed."""
    from seamaug.resources import resource

    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if len(row["prompt"]) + len(row["chosen"]) < 300]
    words = sorted({word for row in short for word in row["prompt"].split()})
    rng = random.Random(0)

    def changed(text: str) -> str:
        numbered = re.sub(r"\d+", lambda _: str(rng.randrange(10**4)), text)
        own = (rng.choice(words) if rng.random() < 0.5 else word for word in numbered.split())
        return f"{' '.join(own)} {rng.choice(words)}"

    with path.open("w", encoding="utf-8") as out:
        for number in range(count):
            row = short[number % len(short)]
            out.write(json.dumps({name: changed(row[name]) for name in
                                  ("prompt", "chosen", "rejected")}) + "\n")  # fmt: skip


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


def measure(folder: str, count: int, models: dict[str, str], send: Any) -> None:
    """One run; sends what it took."""
    import torch

    from seamaug import expand

    torch.set_num_threads(1)
    seeds = Path(folder) / f"seeds-{count}.jsonl"
    write_seeds(seeds, count)
    began = time.process_time()
    with largest_by_stage() as memory:
        result = expand(
            str(seeds), out=f"{folder}/run-{count}", budget=BUDGET, settings=SETTINGS, **models
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[20_000, 50_000, 100_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = []
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/many_seeds.py --seeds {' '.join(map(str, arguments.seeds))}",
        "machine": machine("cpu"),
        "versions": versions(),
    }
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder))
        for count in [BASE, *arguments.seeds]:
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(folder, count, models, send))
            process.start()
            send.close()
            results.append(receive.recv())
            process.join()
            print(json.dumps(results[-1]), flush=True)
            if arguments.out:  # after each size: the largest may take an hour
                found = about | {"runs": results}
                arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
