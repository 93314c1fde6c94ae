"""What each arm adds to the training data: equally many rows, made by `seamaug`.

An arm is a choice of prompts and a rule that keeps some of their variants:

    none                     nothing
    random                   prompts at random
    perplexity               those whose golden response is least likely under the policy
    margin                   those whose pair the reward model is least sure of (MARS, 2602.17658)
    west-of-n                best and worst of the policy's samples by the reward model (2401.12086)
    seam paper               highest SEAM as published: contrast hack sets, weighting `paper`
    seam ESTIMATOR           highest SEAM by this estimator, weighting `prob`
    seam ESTIMATOR, RULE     the same, and of twice as many variants the rule keeps half
    even                     all prompts, a variant of each
    wide                     any prompt: each next variant goes where the look-ahead foresees most
    best                     all prompts: of as many variants as of everything the look-ahead keeps
    best + PM                    as many as the others have; with what SFT on them does to SEAM
    gold worst               those to which the policy's samples have the lowest gold score
    gold spread              by lot, the likelier the lower it is; both know what decides
    everything               all prompts: five times the rows
    drop BY SHARE            nothing; the worst prompts are left out of reinforcement learning
    ARM, drop BY SHARE       what ARM adds, and the worst by its models are left out

Where no rule is named, all variants are kept.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from world import Row, World, bot, user

from seamaug import expand, score
from seamaug.config import KeepConfig, PolicyConfig, RewardConfig
from seamaug.keep.rules import Case
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel

ESTIMATORS, RULES = ("contrast", "on-policy"), ("rescore", "discrepant", "lookahead")
SEAM = {
    "seam paper": ("contrast", "paper", "all"),
    **{f"seam {e}": (e, "prob", "all") for e in ESTIMATORS},
    **{f"seam {e}, {rule}": (e, "prob", rule) for e in ESTIMATORS for rule in RULES},
}
"""Estimator, weighting and keep rule of the arms that go by SEAM."""
WIDE = {"even": "uniform", "wide": "lookahead"}
"""Allocation of the arms that choose no prompts beforehand."""
BEST = {"best": 0.0, "best + PM": 1.0}
"""Weight of the policy's side in what these foresee."""
GOLD = ("gold worst", "gold spread")
"""Arms that no user can have: what they choose by is what is measured in the end."""
NONE, RANDOM, EVERYTHING, WEST_OF_N = "none", "random", "everything", "west-of-n"
ARMS = (NONE, RANDOM, "perplexity", "margin", WEST_OF_N, *SEAM, *WIDE, *BEST, *GOLD, EVERYTHING)
AGAIN = "random again"
"""Other prompts at random than those of the arm `random`."""


class Drop(NamedTuple):
    """Prompts that an arm leaves out of reinforcement learning."""

    of: str
    """The arm whose models it has: nothing else is trained anew."""
    by: str
    share: float


DROPS = {
    **{
        f"drop {by} {share}%": Drop(NONE, by, share / 100)
        for by, share in (
            ("random", 20),
            ("perplexity", 20),
            ("seam", 10),
            ("seam", 20),
            ("seam", 40),
        )
    },
    **{
        # Not the prompts at random that have variants in the arm `random`.
        f"{arm}, drop {by} {share}%": Drop(arm, AGAIN if by == RANDOM else by, share / 100)
        for arm in (RANDOM, "wide")
        for by, share in (("random", 20), ("seam", 20), ("seam", 40))
    },
}
"""Arms that leave prompts out of reinforcement learning: the worst by the models they have."""


class KeepAll:
    """A keep rule for arms that choose prompts alone."""

    name, least, reason = "all", 0.0, "none"

    def __init__(self, config: KeepConfig) -> None:
        pass

    def worth(self, case: Case) -> float:
        """The same for all: the order in which they were made decides."""
        return 1.0


class Models(NamedTuple):
    """A policy after SFT and a reward model."""

    policy: Path
    reward: Path


class Added(NamedTuple):
    """What an arm adds."""

    sft: list[Row]
    pairs: list[Row]


def rank(by: str, world: World, models: Models, seed: int, work: Path, scale: Row) -> list[int]:
    """Positions of the seeds, those to be augmented (or dropped) first."""
    count = len(world.seeds)
    if by in (RANDOM, AGAIN):
        stream = "arm" if by == RANDOM else "drop"
        return random.Random(f"{stream} {seed}").sample(range(count), count)
    if by in GOLD:
        wrong = _wrong(world, models, seed, scale)
        if by == "gold spread":  # weighted sampling without replacement (Efraimidis, Spirakis 2006)
            wrong = np.random.default_rng(seed).random(count) ** (1 / np.maximum(wrong, 1e-3))
        return [int(i) for i in np.argsort(-wrong, kind="stable")]
    if by == "margin":
        margins = [abs(a - b) for a, b in _margins(world, models)]
        return [int(i) for i in np.argsort(margins, kind="stable")]
    if by == "seam":
        values = -seam_of(world, models, work, world.settings)
    else:
        table = _scores(world, models, work, world.settings)
        values = np.array(table["golden_logprob"], dtype=float)
    return [int(i) for i in np.argsort(values, kind="stable")]


def _wrong(world: World, models: Models, seed: int, scale: Row) -> np.ndarray:
    """1 less the mean gold score of the policy's samples to each seed."""
    policy = Policy(PolicyConfig(name=str(models.policy)))
    prompts = [user(row["prompt"]) for row in world.seeds]
    said = policy.sample(prompts, n=scale["samples"], seed=seed, max_new_tokens=scale["new_tokens"])
    return 1 - np.array([np.mean(own) for own in world.gold(world.seeds, said)])


def seam_of(world: World, models: Models, work: Path, settings: Row) -> np.ndarray:
    """On-policy SEAM of each seed, weighting `prob`."""
    return np.array(_scores(world, models, work, settings)["on_policy_seam_prob"], dtype=float)


def _margins(world: World, models: Models) -> list[list[float]]:
    model = RewardModel(RewardConfig(name=str(models.reward)))
    return model.rewards(
        [
            model.conversation_ids(user(s["prompt"]), [s["chosen"], s["rejected"]])
            for s in world.seeds
        ]
    )


def _scores(world: World, models: Models, work: Path, settings: Row) -> Dataset:
    return score(
        _plain(world.seeds),
        policy=str(models.policy),
        reward=str(models.reward),
        estimator=list(ESTIMATORS),
        work=work / "scores",
        settings=settings,
    )


def _plain(seeds: Sequence[Row]) -> list[Row]:
    return [{name: seed[name] for name in ("prompt", "chosen", "rejected")} for seed in seeds]


def added(arm: str, world: World, models: Models, seed: int, work: Path, scale: Row) -> Added:
    """The rows of an arm; `work` is the seed's folder."""
    share, each = scale["share"], scale["variants"]
    settings = world.settings
    selected = round(share * len(world.seeds))
    if arm == NONE:
        return Added([], [])
    if arm == WEST_OF_N:
        return _west_of_n(world, models, seed, selected * each, scale)
    out = work / "expand" / arm.replace(", ", "-").replace(" ", "-")
    settings = settings | {"seed": seed, "keep": {"saturation": None}}
    keep_all = {
        "keep": {
            "rule": "arms:KeepAll",
            "share": 1.0,
            "saturation": None,
            "variance_tolerance": None,
        }
    }
    if arm == EVERYTHING:
        count = len(world.seeds)
        all_of_them = settings | keep_all | {"select.top": count}
        return _expanded(world.seeds, models, count * each, out, all_of_them)
    if arm in SEAM:
        estimator, weighting, rule = SEAM[arm]
        settings |= {
            "select.share": share,
            "score.estimators": [estimator],
            "score.weighting": weighting,
        }
        own = keep_all if rule == "all" else {"keep": {"rule": rule, "saturation": None}}
        return _expanded(world.seeds, models, selected * each, out, settings | own)
    if arm in BEST:
        settings |= {
            "select.top": len(world.seeds),
            "score.estimators": ["on-policy"],
            "score.weighting": "prob",
            "keep": {
                "rule": "lookahead",
                "share": share,
                "saturation": None,
                "trained_pairs": len(world.pairs),
                "policy_weight": BEST[arm],
            },
        }
        return _expanded(world.seeds, models, selected * each, out, settings)
    if arm in WIDE:
        settings |= keep_all | {
            "select.top": len(world.seeds),
            "score.estimators": ["on-policy"],
            "score.weighting": "prob",
            "generate.allocation": WIDE[arm],
            "keep.trained_pairs": len(world.pairs),
        }
        return _expanded(world.seeds, models, selected * each, out, settings)
    chosen = sorted(rank(arm, world, models, seed, work, scale)[:selected])
    own_seeds = [world.seeds[i] for i in chosen]
    settings |= keep_all | {"select.top": selected}
    return _expanded(own_seeds, models, selected * each, out, settings)


def _expanded(seeds: Sequence[Row], models: Models, budget: int, out: Path, settings: Row) -> Added:
    result = expand(
        _plain(seeds),
        policy=str(models.policy),
        reward=str(models.reward),
        budget=budget,
        out=out,
        settings=settings,
    )
    pairs = [
        {
            "prompt": row["chosen"][:-1],
            "chosen": row["chosen"][-1:],
            "rejected": row["rejected"][-1:],
        }
        for row in result.preference
    ]
    sft = [
        {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in result.sft
    ]
    return Added(sft, pairs)


def _west_of_n(world: World, models: Models, seed: int, count: int, scale: Row) -> Added:
    """Best and worst of each prompt's samples by the reward model; the best one for SFT too."""
    policy = Policy(PolicyConfig(name=str(models.policy)))
    judge = RewardModel(RewardConfig(name=str(models.reward)))
    sft, pairs = [], []
    rounds = -(-count // len(world.seeds))
    for number in range(2 * rounds):
        prompts = [user(row["prompt"]) for row in world.seeds]
        drawn = policy.sample(
            prompts,
            n=scale["samples"],
            seed=1000 * seed + number,
            max_new_tokens=scale["new_tokens"],
        )
        order = random.Random(f"west {seed} {number}").sample(range(len(prompts)), len(prompts))
        for place in order:
            texts = [text for text in dict.fromkeys(drawn[place]) if text]
            if len(texts) < 2 or len(pairs) == count:
                continue
            [scores] = judge.rewards([judge.conversation_ids(prompts[place], texts)])
            best, worst = texts[int(np.argmax(scores))], texts[int(np.argmin(scores))]
            pairs.append({"prompt": prompts[place], "chosen": bot(best), "rejected": bot(worst)})
            sft.append({"prompt": prompts[place], "completion": bot(best)})
    return Added(sft, pairs)
