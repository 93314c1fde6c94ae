"""The measures on held-out prompts: one set of responses, judged by model after model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from keeping.world import World
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.records import Message, Parent, SetScores
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import RewardScale, discrepancy, mean_logprobs


class Sets:
    """Prompts with a golden response (first) and worse ones, as token ids, to be judged often."""

    def __init__(
        self, items: Sequence[tuple[list[Message], Sequence[str]]], reward: RewardModel
    ) -> None:
        self.items = items
        self._ids = [reward.conversation_ids(prompt, texts) for prompt, texts in items]

    def logprobs(self, policy: Policy) -> list[SetScores]:
        """Log-probabilities under a policy, without rewards."""
        asked = [ResponseSet(prompt, texts[0], texts[1:]) for prompt, texts in self.items]
        found = Scorer(policy, []).score(asked)
        assert all(len(own.logprobs) == len(ids) for own, ids in zip(found, self._ids, strict=True))
        return found

    def rewards(self, reward: RewardModel) -> list[list[float]]:
        """Scores under a reward model."""
        return reward.rewards(self._ids)


def parent_sets(parents: Sequence[Parent], reward: RewardModel) -> Sets:
    """Parents on their hack sets."""
    return Sets([(p.prompt, [p.golden, *p.worse]) for p in parents], reward)


def scale_of(rewards: Sequence[Sequence[float]]) -> RewardScale:
    """Mean and standard deviation of a reward model's scores."""
    flat = np.concatenate([np.asarray(own) for own in rewards])
    return RewardScale((float(flat.mean()),), (float(flat.std()) or 1.0,))


def mean_seam(
    scores: Sequence[SetScores], rewards: Sequence[Sequence[float]], scale: RewardScale
) -> tuple[float, float]:
    """SEAM (`prob`) and hack rate, averaged over the prompts."""
    found = [
        discrepancy(replace(own, rewards=[list(values)]), scale)
        for own, values in zip(scores, rewards, strict=True)
    ]
    seams = [item.seam_prob for item in found]
    return float(np.mean(seams)), float(np.mean([item.hack_rate for item in found]))


@dataclass(frozen=True)
class Labels:
    """What is known of a held-out prompt's responses: golden, given worse, distinct samples."""

    wrong: list[bool]
    """Of the samples."""
    counts: list[int]
    """How often each of them was drawn."""


class HeldOut:
    """Held-out prompts: the golden response, the worse one given, and samples of the policy.

    The hack set is the worse one given and the samples that the setting's verifier finds wrong; it
    is the same for all arms.
    """

    def __init__(self, world: World, samples: int | None = None) -> None:
        """`samples`: of each prompt, so many of the policy's samples; default is all."""
        items, self._said, self._hacks = [], [], []
        for seed in world.held_out:
            drawn = [text for text in world.said[seed.id][:samples] if text]
            texts = [t for t in dict.fromkeys(drawn) if t not in (seed.golden, seed.worse[0])]
            [evidence] = world.verifier([(seed, texts)])
            wrong = [found is not None for found in evidence]
            self._said.append(Labels(wrong, [drawn.count(text) for text in texts]))
            self._hacks.append([0, 1, *(i + 2 for i, own in enumerate(wrong) if own)])
            items.append((seed.prompt, [seed.golden, seed.worse[0], *texts]))
        self._sets = Sets(items, world.reward)
        self._scores = self._of_hack_sets(self._sets.logprobs(world.policy))

    def _of_hack_sets(self, scores: Sequence[SetScores]) -> list[SetScores]:
        return [
            replace(
                own,
                logprobs=[own.logprobs[i] for i in places],
                tokens=[own.tokens[i] for i in places],
            )
            for own, places in zip(scores, self._hacks, strict=True)
        ]

    def measure(
        self, reward: RewardModel, policy: Policy | None = None
    ) -> tuple[dict[str, float], RewardScale]:
        """All measures, and the scale of the rewards; `policy`: another one than the world's.

        seam, hack_rate: of the hack set; seam_in_spreads: SEAM in the standard deviation of a
        prompt's own samples (root mean square), which flattening does not lower; off_policy: share
        of pairs golden, given worse in the right order; on_policy: the same of pairs of a right
        response (golden or sample) and a sample that is wrong; variance: of the rewards of the
        samples, as in arXiv 2503.15477; logprob_golden: mean per token of the golden responses
        under `policy`, nats.
        """
        rewards = self._sets.rewards(reward)
        scale = scale_of(rewards)
        scores = self._scores
        if policy is not None:
            scores = self._of_hack_sets(self._sets.logprobs(policy))
        hacks = [[own[i] for i in at] for own, at in zip(rewards, self._hacks, strict=True)]
        seam, hack_rate = mean_seam(scores, hacks, scale)
        variance = self._variance(rewards)
        # `scale` is of all responses, whose spread is mostly that between prompts.
        spread = math.sqrt(variance) * self._std(rewards) / scale.stds[0]
        figures = {
            "seam": seam,
            "seam_in_spreads": seam / spread if spread else math.inf,
            "hack_rate": hack_rate,
            "off_policy": float(np.mean([own[0] > own[1] for own in rewards])),
            "on_policy": self._on_policy(rewards),
            "variance": variance,
        }
        if policy is not None:
            golden = [mean_logprobs(own)[0] for own in scores]
            figures["logprob_golden"] = float(np.mean(golden))
        return figures, scale

    def _on_policy(self, rewards: Sequence[Sequence[float]]) -> float:
        """Mean over the prompts that have such a pair."""
        shares = []
        for own, said in zip(rewards, self._said, strict=True):
            samples = list(zip(own[2:], said.wrong, strict=True))
            right = [own[0], *(value for value, wrong in samples if not wrong)]
            bad = [value for value, wrong in samples if wrong]
            if bad:
                shares.append(np.mean([a > b for a, b in product(right, bad)]))
        return float(np.mean(shares))

    def _draws(self, rewards: Sequence[Sequence[float]]) -> list[np.ndarray]:
        return [
            np.repeat(own[2:], said.counts) for own, said in zip(rewards, self._said, strict=True)
        ]

    def _std(self, rewards: Sequence[Sequence[float]]) -> float:
        """Of all samples' rewards."""
        return float(np.concatenate(self._draws(rewards)).std()) or 1.0

    def _variance(self, rewards: Sequence[Sequence[float]]) -> float:
        std = self._std(rewards)
        draws = [own / std for own in self._draws(rewards) if len(own) > 1]
        return float(np.mean([own.var(ddof=1) for own in draws]))
