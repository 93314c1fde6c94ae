"""The laptop's world: which kinds of task the data cover, and how well, is drawn by lot."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laptop.base import answer, make_base
from laptop.kinds import KINDS, draw
from laptop.tasks import Task, words
from laptop.writer import Writer
from world import Row, World, bot, user

from seamaug.config import PolicyConfig
from seamaug.models.policy import Policy


def make_world(seed: int, scale: Any, work: Any) -> World:
    """Data of one seed. By lot, for each kind of task and independently: how many rows SFT and
    preferences have, how many demonstrations are right, and whether (and how often) preferences
    are the wrong way round."""
    rng = random.Random(f"world {seed}")
    base = make_base(work / "base", scale["base"])
    sizes = scale["sizes"]
    known: set[str] = set()
    sft = _unequal(sizes["sft"], scale["spread"], rng)
    preferred = _unequal(sizes["pairs"], scale["spread"], rng)
    right = {name: rng.uniform(*scale["sft_right"]) for name in KINDS}
    noise = {
        name: rng.uniform(*scale["noise"]) if rng.random() < scale["noisy_kinds"] else 0.0
        for name in KINDS
    }
    names = list(KINDS)
    held_out = draw(names, sizes["held_out"], rng, known)
    seeds = draw(names, sizes["seeds"], rng, known)
    tasks = {
        part: draw(_repeated(counts), sum(counts.values()), rng, known)
        for part, counts in (("sft", sft), ("pairs", preferred))
    }
    writer = Writer(seeds, scale["writer_skill"], seed)
    return World(
        policy_start=base,
        reward_start=base,
        sft=[
            {"prompt": user(t.prompt), "completion": bot(answer(t, right[t.kind], rng))}
            for t in tasks["sft"]
        ],
        pairs=_pairs(tasks["pairs"], base, noise, rng),
        seeds=[_row(task, rng) for task in seeds],
        held_out=[_row(task, rng) for task in held_out],
        gold=gold,
        judge="laptop.world:is_right",
        settings={"generator": writer.settings(), **scale["seamaug"]},
        about={"sft": sft, "sft_right": right, "pairs": preferred, "noise": noise},
    )


def _unequal(total: int, spread: float, rng: random.Random) -> dict[str, int]:
    """So many rows over the kinds, by log-normal weights."""
    weights = {name: math.exp(spread * rng.gauss(0, 1)) for name in KINDS}
    whole = sum(weights.values())
    return {name: round(total * weight / whole) for name, weight in weights.items()}


def _repeated(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def _pairs(
    tasks: Sequence[Task], base: Path, noise: dict[str, float], rng: random.Random
) -> list[Row]:
    """What annotators said of the base model's samples: the right answer above a wrong sample, or
    above a mistake where there is none; sometimes the other way round."""
    said = Policy(PolicyConfig(name=str(base))).sample(
        [user(task.prompt) for task in tasks], n=4, seed=rng.randrange(10**6), max_new_tokens=12
    )
    pairs = []
    for task, texts in zip(tasks, said, strict=True):
        wrong = [text for text in texts if text and not task.is_right(text)]
        good, bad = task.answer, wrong[0] if wrong else answer(task, 0.0, rng)
        if rng.random() < noise[task.kind]:
            good, bad = bad, good
        pairs.append({"prompt": user(task.prompt), "chosen": bot(good), "rejected": bot(bad)})
    return pairs


def _row(task: Task, rng: random.Random) -> Row:
    return {
        "prompt": task.prompt,
        "chosen": task.answer,
        "rejected": answer(task, 0.0, rng),
    }


def gold(seeds: Sequence[Row], responses: Sequence[Sequence[str]]) -> list[list[float]]:
    """1 for a right response, 0 for any other."""
    return [
        [float(words(text) == words(seed["chosen"])) for text in own]
        for seed, own in zip(seeds, responses, strict=True)
    ]


def is_right(prompt: Any, response: str, golden: str) -> bool:
    """The same, as `seamaug` asks it."""
    return words(response) == words(golden)
