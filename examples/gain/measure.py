"""The measures of an arm, on held-out prompts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arms import Models
from world import Row, World, user

from seamaug import diagnose
from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.scoring.scorer import ResponseSet, Scorer

FIGURES = {
    "seam_prob": "seam",
    "seam_paper": "seam_paper",
    "hack_rate": "hack_rate",
    "on_policy_accuracy": "on_policy_accuracy",
    "off_policy_accuracy": "off_policy_accuracy",
    "reward_variance": "reward_variance",
}
"""The names of `seamaug diagnose`, and those in the results."""
AFTER = ("seam", "hack_rate", "on_policy_accuracy", "reward_variance")


def measure_models(models: Models, world: World, scale: Row, seed: int) -> dict[str, float]:
    """What `seamaug diagnose` says of a policy and a reward model."""
    found = diagnose(
        world.held_out[: scale["diagnosed"]],
        policy=str(models.policy),
        reward=str(models.reward),
        judge=world.judge,
        prompts=scale["diagnosed"],
        samples=scale["samples"],
        seed=seed,
        settings={"score.on_policy.max_new_tokens": scale["new_tokens"]},
    )
    figures = found.cells[0].figures
    return {name: figures[figure].value for figure, name in FIGURES.items()}


def measure_after(policy: Path, models: Models, world: World, scale: Row, seed: int) -> Row:
    """The same of the trained policy, where it depends on the policy; names end in `_after`."""
    found = measure_models(Models(policy, models.reward), world, scale, seed)
    return {f"{name}_after": value for name, value in found.items() if name in AFTER}


def measure_policy(
    policy: Path, models: Models, world: World, scale: Row, seed: int
) -> tuple[dict[str, float], list[float]]:
    """Gold score, proxy reward and KL to the SFT policy (nats a response) of a trained policy; and
    the gold score by prompt."""
    trained = _policy(policy)
    prompts = [user(row["prompt"]) for row in world.held_out]
    said = trained.sample(
        prompts, n=scale["measured"], seed=9000 + seed, max_new_tokens=scale["new_tokens"]
    )
    gold = [float(np.mean(own)) for own in world.gold(world.held_out, said)]
    judge = RewardModel(RewardConfig(name=str(models.reward)))
    sets = [
        ResponseSet(p, own[0], own[1:]) for p, own in zip(prompts, said, strict=True) if all(own)
    ]
    after = Scorer(trained, [judge]).score(sets)
    before = Scorer(_policy(models.policy), []).score(sets)
    ratios = [np.mean(a.logprobs) - np.mean(b.logprobs) for a, b in zip(after, before, strict=True)]
    rewards = [np.mean(own.rewards[0]) for own in after]
    return {
        "gold": float(np.mean(gold)),
        "proxy": float(np.mean(rewards)),
        "kl": float(np.mean(ratios)),
    }, gold


def _policy(folder: Path) -> Policy:
    return Policy(PolicyConfig(name=str(folder)))


def wins(own: Sequence[float], other: Sequence[float]) -> float:
    """Share of prompts on which the first does better, ties counted half."""
    pairs = np.array(own) - np.array(other)
    return float(np.mean(pairs > 0) + 0.5 * np.mean(pairs == 0))
