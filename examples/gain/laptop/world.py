"""The laptop's world: in which style a kind of task is to be answered, and how well the data tell,
is drawn by lot."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laptop.base import make_base
from laptop.kinds import KINDS, draw
from laptop.tasks import STYLES, Task, words
from laptop.writer import Writer
from world import Row, World, bot, user

from seamaug.config import PolicyConfig
from seamaug.models.policy import Policy


@dataclass(frozen=True)
class Lots:
    """What is drawn by lot for each kind of task, independently; and, where the scale says how
    many, which kinds there are."""

    styles: dict[str, str]
    """In which it is to be answered."""
    sft: dict[str, int]
    """Demonstrations."""
    pairs: dict[str, int]
    """Preferences."""
    in_style: dict[str, float]
    """Share of the demonstrations that are in the wanted style for sure."""
    noise: dict[str, float]
    """Share of the preferences that are the wrong way round."""

    @classmethod
    def draw(cls, scale: Row, rng: random.Random) -> "Lots":
        """Those of one seed."""
        sizes, spread = scale["sizes"], scale["spread"]
        kinds = list(KINDS)
        if "kinds" in scale:
            kinds = rng.sample(kinds, scale["kinds"])
        return cls(
            styles={name: rng.choice(STYLES) for name in kinds},
            sft=_unequal(kinds, sizes["sft"], spread["sft"], rng),
            pairs=_unequal(kinds, sizes["pairs"], spread["pairs"], rng),
            in_style={name: rng.uniform(*scale["in_style"]) for name in kinds},
            noise={
                name: rng.uniform(*scale["noise"]) if rng.random() < scale["noisy_kinds"] else 0.0
                for name in kinds
            },
        )

    def golden(self, task: Task) -> str:
        """The right answer in the wanted style."""
        return self.styles[task.kind].format(task.answer)


def make_world(seed: int, scale: Any, work: Any) -> World:
    """Data of one seed."""
    rng = random.Random(f"world {seed}")
    base = make_base(work / "base", scale["base"])
    lots = Lots.draw(scale, rng)
    known: set[str] = set()
    held_out, seeds = (
        draw(list(lots.styles), scale["sizes"][part], rng, known) for part in ("held_out", "seeds")
    )
    sft, pairs = (
        draw(_repeated(counts), sum(counts.values()), rng, known)
        for counts in (lots.sft, lots.pairs)
    )
    writer = Writer(seeds, lots.styles, scale["writer_skill"], seed)
    evaluation = work / f"held-out-{seed}.txt"
    evaluation.write_text("".join(f"{task.prompt}\n" for task in held_out), encoding="utf-8")
    return World(
        policy_start=base,
        reward_start=base,
        sft=[_demonstration(task, lots, scale["right"], rng) for task in sft],
        pairs=_pairs(pairs, lots, base, scale["new_tokens"], rng),
        seeds=[_row(task, lots, rng) for task in seeds],
        held_out=[_row(task, lots, rng) for task in held_out],
        gold=gold,
        judge="laptop.world:is_right",
        settings={
            "generator": writer.settings(),
            "verify.decontaminate": [str(evaluation)],
            **scale["seamaug"],
        },
        about=asdict(lots),
    )


def _unequal(kinds: Sequence[str], total: int, spread: float, rng: random.Random) -> dict[str, int]:
    """So many rows over the kinds, by log-normal weights."""
    weights = {name: math.exp(spread * rng.gauss(0, 1)) for name in kinds}
    whole = sum(weights.values())
    return {name: round(total * weight / whole) for name, weight in weights.items()}


def _repeated(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def _demonstration(task: Task, lots: Lots, right: float, rng: random.Random) -> Row:
    """Somebody's answer: sometimes a mistake, sometimes in a style of their own."""
    in_style = rng.random() < lots.in_style[task.kind]
    style = lots.styles[task.kind] if in_style else rng.choice(STYLES)
    return {"prompt": user(task.prompt), "completion": bot(style.format(task.said(right, rng)))}


def _pairs(
    tasks: Sequence[Task], lots: Lots, base: Path, new_tokens: int, rng: random.Random
) -> list[Row]:
    """What annotators said of the base model's samples: the wanted answer above another sample, or
    above a mistake where there is none; sometimes the other way round."""
    prompts = [user(task.prompt) for task in tasks]
    said = Policy(PolicyConfig(name=str(base))).sample(
        prompts, n=4, seed=rng.randrange(10**6), max_new_tokens=new_tokens
    )
    pairs = []
    for task, texts in zip(tasks, said, strict=True):
        good = lots.golden(task)
        wrong = [text for text in texts if text and words(text) != words(good)]
        bad = wrong[0] if wrong else lots.styles[task.kind].format(task.said(0.0, rng))
        if rng.random() < lots.noise[task.kind]:
            good, bad = bad, good
        pairs.append({"prompt": user(task.prompt), "chosen": bot(good), "rejected": bot(bad)})
    return pairs


def _row(task: Task, lots: Lots, rng: random.Random) -> Row:
    return {
        "prompt": task.prompt,
        "chosen": lots.golden(task),
        "rejected": lots.styles[task.kind].format(task.said(0.0, rng)),
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
