"""What each arm keeps: n rows of the pool, or n pairs of its own."""

import random
from collections.abc import Callable, Sequence

import numpy as np

from keeping.lookahead import guarded, lookahead, with_policy
from keeping.world import Pair, Pool, World, pairs_of
from seamaug.scoring.seam import mean_logprobs

Choice = Callable[[Pool, int, World], Sequence[int]]
"""Positions of n pool rows."""

NONE, RANDOM, WEST_OF_N, EVERYTHING = "none", "random", "West-of-N", "everything"
GUARDED = "lookahead + guard"


def _random(pool: Pool, n: int, world: World) -> Sequence[int]:
    return random.Random(world.seed).sample(range(len(pool.rows)), n)


def _rescore(pool: Pool, n: int, world: World) -> Sequence[int]:
    return _highest([row.before - row.after for row in pool.rows], n)


def _discrepant(pool: Pool, n: int, world: World) -> Sequence[int]:
    return _highest([row.after for row in pool.rows], n)


def _perplexity(pool: Pool, n: int, world: World) -> Sequence[int]:
    return _highest([-mean_logprobs(row.scores)[0] for row in pool.rows], n)


def _low_margin(pool: Pool, n: int, world: World) -> Sequence[int]:
    """The idea of MARS (arXiv 2602.17658): pairs of whose order the reward model is least sure."""
    margins = []
    for row in pool.rows:
        [rewards] = row.scores.rewards
        margins.append(abs(rewards[0] - rewards[row.rejected + 1]))
    return _highest([-margin for margin in margins], n)


def _highest(values: Sequence[float], n: int) -> Sequence[int]:
    order = np.argsort(-np.asarray(values), kind="stable")
    return [int(i) for i in order[:n]]


CHOICES: dict[str, Choice] = {
    RANDOM: _random,
    "rescore": _rescore,
    "discrepant": _discrepant,
    "lookahead": lookahead,
    GUARDED: guarded,
    "lookahead + PM": with_policy,
    "highest perplexity": _perplexity,
    "lowest margin": _low_margin,
}
ARMS = (NONE, *CHOICES, WEST_OF_N, EVERYTHING)


def kept_pairs(arm: str, pool: Pool, n: int, world: World) -> list[Pair]:
    """What the arm trains on beside the original pairs."""
    if arm == NONE:
        return []
    if arm == EVERYTHING:
        return pairs_of(pool.rows)
    if arm == WEST_OF_N:
        return _west_of_n(n, world)
    chosen = CHOICES[arm](pool, n, world)
    assert arm == GUARDED or len(set(chosen)) == n, f"{arm} keeps another number of rows"
    return pairs_of([pool.rows[i] for i in chosen])


def _west_of_n(n: int, world: World) -> list[Pair]:
    """Best and worst of the policy's samples by the reward model itself (arXiv 2401.12086).

    Of the training prompts, drawn at random; each but once, so there may be fewer than n.
    """
    pairs = []
    size = len(world.train)
    places = random.Random(world.seed).sample(range(size), min(n, size))
    for seed in world.train.at(places):
        texts = list(dict.fromkeys(text for text in world.said[seed.id] if text))
        [rewards] = world.reward.rewards([world.reward.conversation_ids(seed.prompt, texts)])
        best, worst = texts[int(np.argmax(rewards))], texts[int(np.argmin(rewards))]
        if best != worst:
            pairs.append(Pair(seed.prompt, best, worst))
    return pairs
