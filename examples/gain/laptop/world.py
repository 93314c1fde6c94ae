"""The laptop's world: in which style a kind of task is to be answered, and how well the data tell,
is drawn by lot."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laptop.base import make_base
from laptop.kinds import KINDS, draw
from laptop.tasks import STYLES, Task, words
from laptop.writer import Writer
from world import Row, World, bot, user

from seamaug.config import PolicyConfig
from seamaug.models.policy import Policy


def make_world(seed: int, scale: Any, work: Any) -> World:
    """Data of one seed. By lot, for each kind of task and independently: the style in which it is
    to be answered, how many rows SFT and preferences have, how many demonstrations are in that
    style, and whether (and how often) preferences are the wrong way round."""
    rng = random.Random(f"world {seed}")
    base = make_base(work / "base", scale["base"])
    sizes = scale["sizes"]
    names = list(KINDS)
    styles = {name: rng.choice(STYLES) for name in names}
    sft = _unequal(sizes["sft"], scale["spread"]["sft"], rng)
    preferred = _unequal(sizes["pairs"], scale["spread"]["pairs"], rng)
    in_style = {name: rng.uniform(*scale["in_style"]) for name in names}
    noise = {
        name: rng.uniform(*scale["noise"]) if rng.random() < scale["noisy_kinds"] else 0.0
        for name in names
    }
    known: set[str] = set()
    held_out = draw(names, sizes["held_out"], rng, known)
    seeds = draw(names, sizes["seeds"], rng, known)
    tasks = {
        part: draw(_repeated(counts), sum(counts.values()), rng, known)
        for part, counts in (("sft", sft), ("pairs", preferred))
    }
    writer = Writer(seeds, styles, scale["writer_skill"], seed)
    evaluation = work / f"held-out-{seed}.txt"
    evaluation.write_text("".join(f"{task.prompt}\n" for task in held_out), encoding="utf-8")
    return World(
        policy_start=base,
        reward_start=base,
        sft=[_demonstration(task, styles, in_style, scale["right"], rng) for task in tasks["sft"]],
        pairs=_pairs(tasks["pairs"], styles, base, noise, scale["new_tokens"], rng),
        seeds=[_row(task, styles, rng) for task in seeds],
        held_out=[_row(task, styles, rng) for task in held_out],
        gold=gold,
        judge="laptop.world:is_right",
        settings={
            "generator": writer.settings(),
            "verify.decontaminate": [str(evaluation)],
            **scale["seamaug"],
        },
        about={
            "styles": styles,
            "sft": sft,
            "in_style": in_style,
            "pairs": preferred,
            "noise": noise,
        },
    )


def _unequal(total: int, spread: float, rng: random.Random) -> dict[str, int]:
    """So many rows over the kinds, by log-normal weights."""
    weights = {name: math.exp(spread * rng.gauss(0, 1)) for name in KINDS}
    whole = sum(weights.values())
    return {name: round(total * weight / whole) for name, weight in weights.items()}


def _repeated(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def _demonstration(
    task: Task, styles: dict[str, str], in_style: dict[str, float], right: float, rng: random.Random
) -> Row:
    """Somebody's answer: sometimes a mistake, sometimes in a style of their own."""
    style = styles[task.kind] if rng.random() < in_style[task.kind] else rng.choice(STYLES)
    return {"prompt": user(task.prompt), "completion": bot(style.format(task.said(right, rng)))}


def _pairs(
    tasks: Sequence[Task],
    styles: dict[str, str],
    base: Path,
    noise: dict[str, float],
    new_tokens: int,
    rng: random.Random,
) -> list[Row]:
    """What annotators said of the base model's samples: the wanted answer above another sample, or
    above a mistake where there is none; sometimes the other way round."""
    prompts = [user(task.prompt) for task in tasks]
    said = Policy(PolicyConfig(name=str(base))).sample(
        prompts, n=4, seed=rng.randrange(10**6), max_new_tokens=new_tokens
    )
    pairs = []
    for task, texts in zip(tasks, said, strict=True):
        style = styles[task.kind]
        good = style.format(task.answer)
        wrong = [text for text in texts if text and words(text) != words(good)]
        bad = wrong[0] if wrong else style.format(task.said(0.0, rng))
        if rng.random() < noise[task.kind]:
            good, bad = bad, good
        pairs.append({"prompt": user(task.prompt), "chosen": bot(good), "rejected": bot(bad)})
    return pairs


def _row(task: Task, styles: dict[str, str], rng: random.Random) -> Row:
    style = styles[task.kind]
    return {
        "prompt": task.prompt,
        "chosen": style.format(task.answer),
        "rejected": style.format(task.said(0.0, rng)),
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
