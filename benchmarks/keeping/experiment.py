"""One seed of one setting: arms trained and measured, and the prediction put to the test."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from keeping.arms import EVERYTHING, kept_pairs
from keeping.held_out import HeldOut
from keeping.pool import make_pool
from keeping.training import (
    BATCH,
    ResponseIds,
    batches,
    learn_pairs,
    learn_responses,
    load_policy_model,
    load_reward_model,
    pair_ids,
)
from keeping.world import Pair, Pool, World
from seamaug.config import PolicyConfig
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel


class Bench:
    """A world with its pool and held-out measures, and an engine whose weights are exchanged."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seconds: dict[str, float] = {}
        with self.timed("pool"):
            self.pool: Pool = make_pool(world)
        with self.timed("held-out prompts"):
            self.held_out = HeldOut(world)
        self.engine = RewardModel(world.config.reward)
        self._old = pair_ids(world.reward, world.pairs)
        self.kept = round(world.scale.keep * len(self.pool.rows))
        self.steps = round(2 * world.scale.epochs * self.kept / BATCH)

    @contextmanager
    def timed(self, what: str) -> Any:
        """Count the processor's seconds under a name."""
        began = time.process_time()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - began

    def judge(self, model: torch.nn.Module) -> RewardModel:
        """The engine with a trained model's weights."""
        with torch.inference_mode():
            self.engine.model.load_state_dict(model.state_dict())
        return self.engine

    def arm(self, name: str, *, with_policy: bool) -> dict[str, Any]:
        """Keep, train, measure."""
        with self.timed(f"choose: {name}"):
            pairs = kept_pairs(name, self.pool, self.kept, self.world)
        steps = self.steps
        if name == EVERYTHING:  # as often through its rows as the others go through theirs
            steps = round(steps * len(pairs) / self.kept)
        rng = random.Random(self.world.seed)
        with self.timed("train reward models"):
            model = load_reward_model(self.world.reward_folder)
            stream = batches(pair_ids(self.world.reward, pairs), self._old, steps, rng)
            learn_pairs(model, stream, self.world.scale.rate)
        with self.timed("measure"):
            figures: dict[str, Any] = self.held_out.measure(self.judge(model))[0]
        if with_policy:
            policy = self._policy(pairs, steps)
            with self.timed("measure with policies"):
                both = self.held_out.measure(self.engine, policy)[0]
            figures["seam_both"], figures["logprob_golden"] = both["seam"], both["logprob_golden"]
        return figures | {"rows": len(pairs), "steps": steps}

    def _policy(self, pairs: Sequence[Pair], steps: int) -> Policy:
        world, folder = self.world, self.world.work / "retrained"
        golden = [
            Pair(seed.prompt, seed.golden, "") for seed in world.train.at(range(len(world.train)))
        ]
        with self.timed("train policies"):
            model = load_policy_model(world.policy_folder)
            rows = [self._response_ids(own) for own in (pairs, golden)]
            stream = batches(*rows, steps, random.Random(world.seed))
            learn_responses(model, stream, world.scale.policy_rate)
            model.save_pretrained(folder)
            world.policy.tokenizer.save_pretrained(folder)
        return Policy(PolicyConfig(name=str(folder), batch_tokens=1 << 15))

    def _response_ids(self, pairs: Sequence[Pair]) -> list[ResponseIds]:
        policy = self.world.policy
        responses = policy.response_ids([pair.chosen for pair in pairs])
        return [
            (policy.prompt_ids(pair.prompt), own)
            for pair, own in zip(pairs, responses, strict=True)
        ]


def run_arms(
    bench: Bench, arms: Sequence[str], *, with_policy: bool, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measures by arm, and those before any training."""
    found: dict[str, dict[str, Any]] = {
        "before": bench.held_out.measure(bench.judge(bench.world.reward.model))[0]
    }
    for name in arms:
        found[name] = bench.arm(name, with_policy=with_policy)
        tell(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in found[name].items()))
    return found
