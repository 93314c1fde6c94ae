"""Evidence 1: the predicted against the actual fall of SEAM, batch by batch."""

import random
from collections.abc import Sequence

from keeping.experiment import Bench
from keeping.held_out import HeldOut, mean_seam, parent_sets
from keeping.lookahead import predict
from keeping.training import BATCH, learn_pairs, load_reward_model, pair_ids
from keeping.world import Pool, Scored, World, pairs_of

KINDS = ("random", "parents")
"""How batches are drawn."""

STEPS = 4
"""Times that the reward model is trained on a batch."""
SAMPLES = 4
"""Of each held-out prompt: fewer than for the arms, since every batch is measured."""


def _on_probes(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    return predict(rows, pool, world)[0]


def _nearby(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    return predict(rows, pool, world)[1]


def _as_shipped(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    probes, near = predict(rows, pool, world)
    local = world.config.keep.local
    return (1 - local) * probes + local * near


def _own_seam(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    return sum(row.after for row in rows)


def _fall_of_own_seam(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    return sum(row.before - row.after for row in rows)


PREDICTORS = {
    "lookahead, probes": _on_probes,
    "lookahead, near": _nearby,
    "lookahead": _as_shipped,
    "discrepant": _own_seam,
    "rescore": _fall_of_own_seam,
}


def draw_batches(
    pool: Pool, count: int, kind: str, rng: random.Random, size: int = BATCH
) -> list[list[Scored]]:
    """Up to `count` disjoint batches: of rows at `random`, or of few `parents` each, as in a run.

    Random batches are much alike, so that there is little to predict.
    """
    if kind == "random":
        rows = rng.sample(pool.rows, len(pool.rows))
    else:
        order = {p.id: i for i, p in enumerate(rng.sample(pool.parents, len(pool.parents)))}
        rows = sorted(pool.rows, key=lambda row: order[row.candidate.parent])
    full = range(0, len(rows) - size + 1, size)
    return [rows[start : start + size] for start in full][:count]


def try_predictions(bench: Bench, kind: str, size: int = BATCH) -> dict[str, list[float]]:
    """By batch: what is predicted, and how SEAM fell on held-out prompts and around its parents."""
    world = bench.world
    held_out = HeldOut(world, SAMPLES)
    base, scale = held_out.measure(bench.judge(world.reward.model))
    found: dict[str, list[float]] = {"held_out": [], "neighbourhood": []}
    rng = random.Random(world.seed)
    for rows in draw_batches(bench.pool, world.scale.batches, kind, rng, size):
        near = {row.parent.id: row.parent for row in rows}
        sets = parent_sets(list(near.values()), world.reward)
        logprobs = sets.logprobs(world.policy)
        before = mean_seam(logprobs, sets.rewards(world.reward), scale)[0]
        model = load_reward_model(world.reward_folder)
        learn_pairs(model, [pair_ids(world.reward, pairs_of(rows))] * STEPS, world.scale.rate)
        figures, new_scale = held_out.measure(bench.judge(model))
        after = mean_seam(logprobs, sets.rewards(bench.engine), new_scale)[0]
        found["held_out"].append(base["seam"] - figures["seam"])
        found["neighbourhood"].append(before - after)
        for name, predictor in PREDICTORS.items():
            found.setdefault(name, []).append(predictor(rows, bench.pool, world))
    return found
