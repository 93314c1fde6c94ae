"""The world of real data: preference pairs and demonstrations from files or the hub.

The prompts are dealt out by lot: to the gold judges, to the reward model, to reinforcement
learning, and to the test. Nothing but the gold judges' own training sees their part.
"""

import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from corpora.base import make_base, rows_of
from train import reward
from world import Row, World, bot, user

from seamaug.config import RewardConfig
from seamaug.models.reward import RewardModel

PARTS = ("gold", "pairs", "seeds", "held_out")


def make_world(seed: int, scale: Row, work: Path) -> World:
    """Data of one seed; `work` keeps the base model and the judges, which all seeds share."""
    parts = _dealt(scale, seed)
    demonstrations = _demonstrations(scale, parts["pairs"], seed)
    base = scale["policy"] if "policy" in scale else make_base(work / "base", scale)
    judges = Judges(scale, parts["gold"], scale.get("reward", base), work)
    evaluation = work / f"held-out-{seed}.jsonl"
    lines = (json.dumps({"prompt": row["prompt"]}) + "\n" for row in parts["held_out"])
    evaluation.write_text("".join(lines), encoding="utf-8")
    return World(
        policy_start=base,
        reward_start=scale.get("reward", base),
        sft=demonstrations,
        pairs=[
            {
                "prompt": user(r["prompt"]),
                "chosen": bot(r["chosen"]),
                "rejected": bot(r["rejected"]),
            }
            for r in parts["pairs"]
        ],
        seeds=parts["seeds"],
        held_out=parts["held_out"],
        gold=judges,
        judge=str(judges.names[0]),
        settings=scale["seamaug"] | {"verify.decontaminate": [str(evaluation)]},
        about={name: len(rows) for name, rows in parts.items()} | _checked(judges, parts, scale),
    )


def _checked(judges: "Judges", parts: dict[str, list[Row]], scale: Row) -> Row:
    """How often the judges are right on test pairs whose labels a checker gave."""
    rows = [row for row in parts["held_out"] if row.get("set") == scale.get("checkable", "")]
    if not rows:
        return {}
    rejected_wins = judges(rows, [[row["rejected"]] for row in rows])
    return {"checkable": len(rows), "judges_right": float(np.mean(np.array(rejected_wins) < 0.5))}


class Judges:
    """Gold score: probability that a response beats the reference one, by Bradley-Terry, averaged
    over reward models that are trained on data of their own, or given."""

    def __init__(self, scale: Row, rows: Sequence[Row], start: Path | str, work: Path) -> None:
        own = scale["gold"]
        self.names: list[Path | str] = list(own.get("rewards", ()))
        pairs = [
            {
                "prompt": user(r["prompt"]),
                "chosen": bot(r["chosen"]),
                "rejected": bot(r["rejected"]),
            }
            for r in rows
        ]
        for number in range(own.get("trained", 0)):
            out = work / "gold" / str(number)
            if not (out / "done").exists():
                reward(start, pairs, out, number, **own["training"])
                (out / "done").touch()
            self.names.append(out)

    def __call__(
        self, seeds: Sequence[Row], responses: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        found: list[list[np.ndarray]] = [[] for _ in seeds]
        for name in self.names:
            model = RewardModel(RewardConfig(name=str(name)))
            scored = model.rewards(
                [
                    model.conversation_ids(user(seed["prompt"]), [seed["chosen"], *own])
                    for seed, own in zip(seeds, responses, strict=True)
                ]
            )
            for place, (reference, *own) in enumerate(scored):
                found[place].append(1 / (1 + np.exp(reference - np.array(own))))
        return [np.mean(own, axis=0).tolist() for own in found]


def _dealt(scale: Row, seed: int) -> dict[str, list[Row]]:
    """Rows by part, by prompt: all pairs of a prompt are in one part. The gold judges' part is the
    same for all seeds."""
    found = rows_of(scale["preferences"], scale).rename_columns(
        {own: name for name, own in scale.get("columns", {}).items()}
    )
    rows = [row for row in found if _fits(row, scale)]
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    random.Random(0).shuffle(prompts)
    gold, others = prompts[: scale["sizes"]["gold"]], prompts[scale["sizes"]["gold"] :]
    random.Random(f"deal {seed}").shuffle(others)
    whose = dict.fromkeys(gold, "gold")
    start = 0
    for part in PARTS[1:]:
        count = scale["sizes"][part]
        if start + count > len(others):
            raise ValueError(f"{len(prompts)} prompts are too few for `sizes`: make them smaller")
        whose |= dict.fromkeys(others[start : start + count], part)
        start += count
    dealt: dict[str, list[Row]] = {part: [] for part in PARTS}
    once: set[str] = set()
    for row in rows:
        part = whose.get(row["prompt"])
        if part is None or (part in ("seeds", "held_out") and row["prompt"] in once):
            continue
        once.add(row["prompt"])
        dealt[part].append(row)
    return dealt


def _fits(row: Row, scale: Row) -> bool:
    """Whether it is a single turn of modest length."""
    texts = [row["prompt"], row["chosen"], row["rejected"]]
    return (
        all(texts) and max(map(len, texts)) <= scale["longest"] and "\n\nAssistant:" not in texts[0]
    )


def _demonstrations(scale: Row, pairs: Sequence[Row], seed: int) -> list[Row]:
    """Rows for SFT: the chosen responses, where no file of demonstrations is named."""
    if "demonstrations" in scale:
        rows = rows_of(scale["demonstrations"], scale).shuffle(seed=seed)
        found = ((row["prompt"], row["response"]) for row in rows)
    else:
        found = ((row["prompt"], row["chosen"]) for row in pairs)
    short = (two for two in found if all(two) and max(map(len, two)) <= scale["longest"])
    wanted = islice(short, scale["sizes"]["sft"])
    return [{"prompt": user(p), "completion": bot(response)} for p, response in wanted]
