"""Whether the predicted effect of an SFT step is the actual one, on the bundled policy.

    python benchmarks/policy_step.py --out benchmarks/results/policy_step.json

Bundled seeds: some anchors with their nearest seeds are watched, each with the golden responses of
the next nearest ones as its hack set and the bundled reward model's misjudgements. A rule-based
variant of each watched prompt is trained on (its parent's golden response), each from the policy
as it is. Predicted and actual are the changes of responses' mean log-probability per token, those
of each watched prompt's SEAM, and those of the mean SEAM over the variant's neighbourhood, which is
what candidates are ranked by. Float32, on one thread.
"""

import argparse
import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from operators import parents_of
from timing import machine, versions
from transformers import AutoModelForCausalLM

from seamaug.config import EmbedderConfig, GenerateConfig, PolicyConfig, RewardConfig, SeedsConfig
from seamaug.generate.operators import at_random
from seamaug.generate.variants import VariantMaker
from seamaug.keep.policy_step import seam_slopes
from seamaug.models.embedder import Embedder
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.models.sketch import HeadGradients
from seamaug.records import Parent
from seamaug.resources import resource
from seamaug.seeds import read_seeds

Sets = list[tuple[list[int], list[list[int]]]]
_LONGEST = 400
"""Characters of a golden response: the bundled ones with more are few, and take the time."""


@dataclass
class Watched:
    """Prompts in neighbourhoods of equal size, each with a hack set, and a variant of each."""

    sets: Sets
    eps: np.ndarray
    variants: Sets
    neighbourhoods: list[np.ndarray]


def watch(policy: Policy, anchors: int, size: int, hack_set: int, seed: int) -> Watched:
    """What is watched, and what is trained on."""
    parents = parents_of(seeds := read_seeds(SeedsConfig()), len(seeds))
    parents = [parent for parent in parents if len(parent.golden) < _LONGEST]
    vectors = Embedder(EmbedderConfig()).embed([parent.text for parent in parents])
    chosen = np.random.default_rng(seed).choice(len(parents), anchors, replace=False)
    groups = np.argsort(-(vectors[chosen] @ vectors.T), 1, kind="stable")[:, :size]
    reward = RewardModel(RewardConfig(device="cpu", dtype="float32"))
    maker = VariantMaker(GenerateConfig(), None, seed)
    found = Watched([], np.empty(0), [], [])
    rewards = []
    for number, group in enumerate(groups):
        for i in group:
            own, near = parents[i], np.argsort(-(vectors @ vectors[i]), kind="stable")
            worse = [parents[j].golden for j in near if j not in group][:hack_set]
            prompt = policy.prompt_ids(own.prompt)
            found.sets.append((prompt, policy.response_ids(worse)))
            [variant] = maker.make([own], 0, [1], lambda prompt: True, _at_random)
            golden = policy.response_ids([own.golden])
            found.variants.append((policy.prompt_ids(variant.prompt), golden))
            found.neighbourhoods.append(np.arange(number * size, (number + 1) * size))
            rewards.append(reward.conversation_ids(own.prompt, [own.golden, *worse]))
    raw = np.array(reward.rewards(rewards))
    found.eps = np.maximum(raw[:, 1:] - raw[:, :1], 0) / raw.std()
    return found


def _at_random(parent: Parent, names: Sequence[str], rng: random.Random) -> Iterable[str]:
    return at_random(names, rng)


def mean_logprobs(policy: Policy, sets: Sets) -> np.ndarray:
    """Per token, (prompts, hack set)."""
    return np.array([[r.total / r.tokens for r in rows] for rows in policy.logprobs(sets)])


def seams(logprobs: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Under `prob`, (prompts,)."""
    weights = np.exp(logprobs)
    return (weights * eps).sum(1) / weights.sum(1)


STEPS = {"AdamW": 1, "AdamW, 8 steps": 8}
"""Steps on all weights at learning rate 2e-5."""
SKETCHES = {"exact": 128, "64 x 64": 64, "32 x 32": 32}
"""Rows on each side. The bundled policy's width is 128: what is as wide is not projected."""


def actual(policy: Policy, watched: Watched, steps: int) -> np.ndarray:
    """Changes of mean log-probabilities by a variant: (variants, prompts, hack set)."""
    model = AutoModelForCausalLM.from_pretrained(
        resource("embedded", "policy"), dtype=torch.float32
    )
    start = {name: value.clone() for name, value in model.state_dict().items()}
    before, changes = mean_logprobs(policy, watched.sets), []
    for prompt, (response,) in watched.variants:
        model.load_state_dict(start)
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5)
        ids, wanted = torch.tensor([prompt + response]), torch.tensor(response)
        for _ in range(steps):
            optimiser.zero_grad()
            logits = model(ids).logits[0, len(prompt) - 1 : -1]
            torch.nn.functional.cross_entropy(logits, wanted).backward()
            optimiser.step()
        policy.model.load_state_dict(model.state_dict())
        changes.append(mean_logprobs(policy, watched.sets) - before)
    policy.model.load_state_dict(start)
    return np.array(changes)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of flattened values without ties to speak of."""
    ranks = [np.argsort(np.argsort(values.ravel())) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def kernels(policy: Policy, watched: Watched) -> dict[str, np.ndarray]:
    """Predicted changes at learning rate 1, by sketch: (variants, prompts, hack set)."""
    found = {}
    for name, rows in SKETCHES.items():
        gradients = HeadGradients(policy, errors=rows, states=rows)
        own = np.stack(gradients.sketches(watched.sets)).astype(np.float64)
        variants = np.concatenate(gradients.sketches(watched.variants)).astype(np.float64)
        found[name] = np.einsum("ck,pjk->cpj", variants, own)
    return found


def agreement(
    predicted: np.ndarray, changes: np.ndarray, before: np.ndarray, watched: Watched
) -> dict[str, float]:
    """Rank correlations of predicted with actual changes, by what they are changes of."""
    start = seams(before, watched.eps)
    actual_seams = np.array([seams(before + change, watched.eps) - start for change in changes])
    slopes = [seam_slopes(row, eps, "prob") for row, eps in zip(before, watched.eps, strict=True)]
    step = np.einsum("cpj,pj->cp", predicted, np.array(slopes))
    near = [
        np.array([row[own] for row, own in zip(values, watched.neighbourhoods, strict=True)])
        for values in (predicted, changes, step, actual_seams)
    ]
    return {
        "log-probabilities": rank_correlation(predicted, changes),
        "log-probabilities nearby": rank_correlation(near[0], near[1]),
        "SEAM nearby": rank_correlation(near[2], near[3]),
        "neighbourhood": rank_correlation(near[2].mean(1), near[3].mean(1)),
    }


def measured(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """By training and sketch, for one choice of what is watched."""
    policy = Policy(PolicyConfig(device="cpu", dtype="float32"))
    watched = watch(policy, options.anchors, options.size, options.hack_set, seed)
    before, predicted = mean_logprobs(policy, watched.sets), kernels(policy, watched)
    exact = predicted["exact"]
    found: dict[str, Any] = {
        "error of the kernel": {
            key: float(np.linalg.norm(kernel - exact) / np.linalg.norm(exact))
            for key, kernel in predicted.items()
        }
    }
    for key, steps in STEPS.items():
        changes = actual(policy, watched, steps)
        found[key] = {"mean change": float(np.abs(changes).mean())}
        for way, kernel in predicted.items():
            found[key][way] = agreement(kernel, changes, before, watched)
        print(seed, key, json.dumps(found[key]["exact"]), flush=True)
    return found


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, default=5)
    parser.add_argument("--size", type=int, default=6, help="prompts of a neighbourhood")
    parser.add_argument("--hack-set", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    result = {
        "machine": machine("cpu"),
        "versions": versions(),
        "options": {"anchors": options.anchors, "size": options.size, "hack_set": options.hack_set},
        "seeds": [measured(options, seed) for seed in range(options.seeds)],
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    options.out.write_text(json.dumps(rounded(result), indent=1) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Three digits are more than is known."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
