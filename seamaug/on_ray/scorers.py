"""Policy, reward models and judges on workers of a Ray cluster, asked by the process of the run.

Texts become token ids here; what the models make of these is asked of the workers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any, TypeVar

import numpy as np

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.engines import FeatureEngine, Logprob, RewardEngine
from seamaug.models.load import load_policy, load_reward, load_voter
from seamaug.models.rewards import votes_of_sets
from seamaug.models.tokens import ConversationTokens, PolicyTokens, RewardTokens
from seamaug.on_ray.workers import Ask, Engine, Workers
from seamaug.records import Message

Set = TypeVar("Set")


class RayPolicy(PolicyTokens):
    """The policy on workers: a `PolicyEngine`. Raises ModelError where it does not load there."""

    def __init__(self, workers: Workers, config: PolicyConfig) -> None:
        super().__init__(config)
        self._workers = workers
        self._engine = Engine(load_policy, config, "policy")
        self.max_length = workers.ask(self._engine, attrgetter("max_length"))

    def logprobs(
        self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]
    ) -> list[list[Logprob]]:
        """As `PolicyEngine.logprobs`."""
        return _shared_out(self._workers, self._engine, sets, partial(methodcaller, "logprobs"))

    def sample(
        self, prompts: Sequence[list[Message]], *, n: int, seed: int, max_new_tokens: int,
        temperature: float = 1.0, top_p: float = 1.0,
    ) -> list[list[str]]:  # fmt: skip
        """As `PolicyEngine.sample`; by one worker, since all are drawn in one stream."""
        asked = methodcaller(
            "sample", prompts, n=n, seed=seed, max_new_tokens=max_new_tokens,
            temperature=temperature, top_p=top_p,
        )  # fmt: skip
        samples: list[list[str]] = self._workers.ask(self._engine, asked)
        return samples


class RayReward(RewardTokens):
    """A reward model on workers: a `FeatureEngine`. Raises as `RayPolicy`."""

    def __init__(self, workers: Workers, config: RewardConfig) -> None:
        super().__init__(config)
        self._workers = workers
        self._engine = Engine(load_reward, config, "reward")
        self.max_length, self.weights = workers.ask(self._engine, _length_and_weights)

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """As `RewardEngine.rewards`."""
        return _shared_out(self._workers, self._engine, sets, partial(methodcaller, "rewards"))

    def rewards_and_features(
        self, sets: Sequence[Sequence[list[int]]]
    ) -> tuple[list[list[float]], list[np.ndarray]]:
        """As `FeatureEngine.rewards_and_features`."""
        found = _shared_out(self._workers, self._engine, sets, lambda own: partial(_featured, own))
        return [rewards for rewards, _ in found], [features for _, features in found]


class RayVoter(ConversationTokens):
    """A reward model that votes, on workers: a `VotingEngine`. Raises as `RayPolicy`."""

    def __init__(self, workers: Workers, config: RewardConfig) -> None:
        super().__init__(config, "reward")
        self._workers = workers
        self._engine = Engine(load_voter, config, "reward")
        self.max_length = workers.ask(self._engine, attrgetter("max_length"))

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """The first vote alone."""
        return [own[:, 0].tolist() for own in self.votes(sets)]

    def votes(self, sets: Sequence[Sequence[list[int]]]) -> list[np.ndarray]:
        """As `VotingEngine.votes`."""
        return _shared_out(
            self._workers, self._engine, sets, lambda own: partial(votes_of_sets, asked=own)
        )


def _shared_out(
    workers: Workers,
    engine: Engine,
    sets: Sequence[Set],
    question: Callable[[Sequence[Set]], Ask],
) -> list[Any]:
    """The answer to each set, all in order; each worker is asked of an even share of them."""
    step = max(1, -(-len(sets) // workers.size))
    questions = [question(sets[start : start + step]) for start in range(0, len(sets), step)]
    shares = dict(workers.answers(engine, questions))
    return [answer for number in sorted(shares) for answer in shares[number]]


def _length_and_weights(engine: RewardEngine) -> tuple[int, np.ndarray | None]:
    shown = engine.weights if isinstance(engine, FeatureEngine) else None
    return engine.max_length, shown


def _featured(
    sets: Sequence[Sequence[list[int]]], engine: FeatureEngine
) -> list[tuple[list[float], np.ndarray]]:
    return list(zip(*engine.rewards_and_features(sets), strict=True))
