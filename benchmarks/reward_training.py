"""Robust reward models: accuracy, reward variance and time of each loss against plain training.

    python benchmarks/reward_training.py --data DIR --out FILE [--seeds 5]

DIR holds preference-larger.jsonl.gz and sft-mixed.jsonl.gz. Reward models are trained on pairs of
two sources, as they are and with 20 % of the labels flipped, and judged on clean pairs of the same
and of other sources. All start from one small language model that is trained here on prompts which
no pair has (--base keeps it), and which is the policy too. FILE is JSON lines, one for each seed,
noise and arm; a stopped run goes on where it was, and the end prints the tables with 95 % intervals
of the paired differences.
"""

import argparse
import gzip
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import machine, versions
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from seamaug import train_rm
from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.models.rewards import raw_rewards
from seamaug.resources import resource
from seamaug.train.trainer import RobustRewardTrainer

INSIDE, OUTSIDE = ("gsm8k_solutions", "hh_helpful"), ("truthfulqa", "oasst")
LONGEST = 700  # characters of prompt and longer response
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"smoothing.rate": 0.1},
    "simcse": {"contrastive.method": "simcse"},
    "simcse, differences": {"contrastive.method": "simcse", "contrastive.on": "differences"},
    "swav": {"contrastive.method": "swav"},
    "metarm": {"meta.step": 0.01},
    "smoothing + simcse": {"smoothing.rate": 0.1, "contrastive.method": "simcse"},
}
SETTINGS: dict[str, Any] = {
    "start.max_length": 512,
    "policy.max_length": 512,
    "meta.prompts": 64,
    "meta.max_new_tokens": 64,
    "trainer.num_train_epochs": 2,
    "trainer.save_strategy": "no",
}
SAMPLED, SAMPLES = 24, 10


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a file that are short enough."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [
        row
        for row in rows
        if len(row["prompt"]) + max(len(row["chosen"]), len(row["rejected"])) < LONGEST
    ]


def make_base(data: Path, folder: Path, steps: int, taken: set[str]) -> None:
    """A language model in the bundled policy's shape, from scratch, on prompts of no pair."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    with gzip.open(data / "sft-mixed.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    chats = [
        [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["response"]}]
        for r in rows
        if r["prompt"] not in taken and len(r["prompt"]) + len(r["response"]) < LONGEST
    ]
    random.Random(0).shuffle(chats)
    shape = AutoConfig.from_pretrained(resource("embedded", "policy"))
    torch.manual_seed(0)
    arguments = SFTConfig(
        str(folder / "sft"),
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_config(shape),
        arguments,
        train_dataset=Dataset.from_dict({"messages": chats[: 16 * steps]}),
        processing_class=AutoTokenizer.from_pretrained(resource("embedded", "policy")),
    )
    trainer.train()
    trainer.save_model(str(folder))


def split(rows: list[dict[str, Any]], seed: int, count: int, noise: float) -> tuple[Any, Any, Any]:
    """Training pairs with flipped labels, and clean test pairs inside and outside of the sources.

    No prompt is on both sides.
    """
    rng = random.Random(seed)
    inside = [row for row in rows if row["set"] in INSIDE]
    prompts = sorted({row["prompt"] for row in inside})
    rng.shuffle(prompts)
    held = set(prompts[: len(prompts) // 3])
    train = rng.sample([row for row in inside if row["prompt"] not in held], count)
    test = rng.sample([row for row in inside if row["prompt"] in held], count // 2)
    outside = rng.sample([row for row in rows if row["set"] in OUTSIDE], count // 2)
    flipped = [rng.random() < noise for _ in train]
    noisy = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if flip else row
        for row, flip in zip(train, flipped, strict=True)
    ]
    names = ("prompt", "chosen", "rejected")
    return [{name: row[name] for name in names} for row in noisy], test, outside


def accuracy(model: RewardModel, rows: list[dict[str, Any]]) -> float:
    """Share of pairs in which the chosen response gets more."""
    cases = [
        ([{"role": "user", "content": row["prompt"]}], [row["chosen"], row["rejected"]])
        for row in rows
    ]
    scores = np.array(raw_rewards(model, cases))
    scores = scores[np.isfinite(scores).all(axis=1)]
    return float((scores[:, 0] > scores[:, 1]).mean())


def variance(model: RewardModel, sampled: list[tuple[Any, list[str]]]) -> float:
    """Normalised reward variance (arXiv 2503.15477): over one prompt's samples, mean of prompts."""
    rewards = np.array(raw_rewards(model, sampled))
    rewards = (rewards - np.nanmean(rewards)) / np.nanstd(rewards)
    return float(np.nanmean(np.nanvar(rewards, axis=1, ddof=1)))


def timed_steps(seconds: list[float]) -> None:
    """From now on every training step adds its CPU time."""
    step = RobustRewardTrainer.training_step

    def training_step(self: Any, *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        loss = step(self, *arguments, **options)
        seconds.append(time.process_time() - start)
        return loss

    RobustRewardTrainer.training_step = training_step  # type: ignore[method-assign]


def measure(data: Any, arm: str, seed: int, sampled: Any, seconds: list[float]) -> dict[str, Any]:
    """One training and what it came to."""
    train, test, outside = data
    seconds.clear()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rm"
        train_rm(train, out=out, settings={**SETTINGS, **ARMS[arm], "seed": seed})
        model = RewardModel(RewardConfig(name=str(out), max_length=512))
    return {
        "inside": accuracy(model, test),
        "outside": accuracy(model, outside),
        "variance": variance(model, sampled),
        "cpu_seconds": sum(seconds),
    }


def table(rows: list[dict[str, Any]]) -> None:
    """Means, and differences to plain in the same seed with 95 % intervals (Student's t)."""
    from scipy import stats

    for noise in sorted({row["noise"] for row in rows}):
        plain = {r["seed"]: r for r in rows if r["noise"] == noise and r["arm"] == "plain"}
        print(f"\nnoise {noise:.0%}")
        for arm in ARMS:
            own = {r["seed"]: r for r in rows if r["noise"] == noise and r["arm"] == arm}
            line = [f"{arm:22}", f"{len(own)} seeds"]
            for name in ("inside", "outside", "variance"):
                values = np.array([row[name] for row in own.values()])
                gaps = np.array([row[name] - plain[seed][name] for seed, row in own.items()])
                half = stats.sem(gaps) * stats.t.ppf(0.975, len(gaps) - 1) if len(gaps) > 1 else 0
                gap = f" ({gaps.mean():+.3f} ± {half:.3f})" if arm != "plain" else ""
                line.append(f"{name} {values.mean():.3f}{gap}")
            ratios = [row["cpu_seconds"] / plain[seed]["cpu_seconds"] for seed, row in own.items()]
            print(*line, f"time {np.median(ratios):.2f}", sep="  ")


def main() -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--base", type=Path, required=True, help="folder of the starting model")
    parser.add_argument("--steps", type=int, default=400, help="of its training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(arguments.data, "preference-larger")
    if not (arguments.base / "model.safetensors").is_file():
        taken = {row["prompt"] for row in rows}
        make_base(arguments.data, arguments.base, arguments.steps, taken)
    done = []
    if arguments.out.is_file():
        done = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    SETTINGS.update({"start.name": str(arguments.base), "policy.name": str(arguments.base)})
    policy = Policy(PolicyConfig(name=str(arguments.base), max_length=512))
    seconds: list[float] = []
    timed_steps(seconds)
    for seed in range(arguments.seeds):
        _, test, _ = split(rows, seed, arguments.pairs, 0.0)
        prompts = [[{"role": "user", "content": row["prompt"]}] for row in test[:SAMPLED]]
        drawn = policy.sample(prompts, n=SAMPLES, seed=seed, max_new_tokens=64)
        sampled = [(p, texts) for p, texts in zip(prompts, drawn, strict=True) if texts]
        for noise in (0.0, 0.2):
            data = split(rows, seed, arguments.pairs, noise)
            for arm in ARMS:
                key = {"seed": seed, "noise": noise, "arm": arm, "pairs": arguments.pairs}
                if any(key.items() <= row.items() for row in done):
                    continue
                row = key | measure(data, arm, seed, sampled, seconds)
                row |= {"machine": machine("cpu"), "versions": versions()}
                done.append(row)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                with arguments.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
    table(done)


if __name__ == "__main__":
    main()
