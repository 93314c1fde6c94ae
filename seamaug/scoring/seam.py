"""SEAM from log-probabilities and rewards (arXiv 2406.07971).

Sign: every score here is a discrepancy, higher = worse. The paper's value is the negation.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seamaug.records import SetScores
from seamaug.reward_variance import SAME

_RESAMPLES = 200
_IMPOSSIBLE = -1e4
"""Nats per token that count for a response the policy rules out, whose log-probability is -inf."""


def seam(
    mean_logprobs: np.ndarray,
    eps: np.ndarray,
    weighting: str,
    counts: np.ndarray | None = None,
    draws: int = 0,
) -> float:
    """SEAM of one prompt over its hack set; 0 for an empty set.

    `mean_logprobs`: log P(r_i | prompt) / len(r_i), nats per token, shape (N,);
    `eps`: misjudgements max(R(r_i) - R(r_gold), 0), standardised, shape (N,);
    `counts`, `draws`: for a sample of the policy, how often each was drawn among how many draws.

    `prob`: sum_i w_i eps_i / sum_i w_i with w_i = exp(mean_logprob_i). A misjudged response
    matters as much as the policy is likely to say it (Definition 1). For a sample of the policy it
    is sum_i count_i eps_i / draws: there the draws already are the policy's probabilities, and
    those that are not worse weigh in with 0.
    `paper`: sum_i -mean_logprob_i eps_i, the published length-penalised form. It weighs a *less*
    likely response more, against Definition 1; it is here to compare with published numbers.
    """
    return float(seam_weights(mean_logprobs, weighting, counts, draws) @ eps)


def seam_weights(
    mean_logprobs: np.ndarray, weighting: str, counts: np.ndarray | None = None, draws: int = 0
) -> np.ndarray:
    """What each misjudgement adds to SEAM: ``seam(...) = seam_weights(...) @ eps``, shape (N,)."""
    mean_logprobs = np.maximum(mean_logprobs, _IMPOSSIBLE)
    if draws and weighting == "prob":
        assert counts is not None, "a sample says how often each response was drawn"
        return counts / draws
    if weighting == "paper":
        return -mean_logprobs
    weights = np.exp(mean_logprobs - mean_logprobs.max(initial=-np.inf))
    shares: np.ndarray = weights / weights.sum()
    return shares


def seam_interval(
    mean_logprobs: np.ndarray,
    eps: np.ndarray,
    weighting: str,
    counts: np.ndarray | None = None,
    draws: int = 0,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `seam` under resampling of the hack set (200 times)."""
    rng = np.random.default_rng(seed)
    values = _resampled(mean_logprobs, eps, weighting, counts, draws, rng)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _resampled(
    mean_logprobs: np.ndarray,
    eps: np.ndarray,
    weighting: str,
    counts: np.ndarray | None,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """SEAM of random resamples of the set, shape (200,); of shape (1,) for an empty one."""
    n = len(eps)
    if n == 0:
        return np.zeros(1)
    mean_logprobs = np.maximum(mean_logprobs, _IMPOSSIBLE)
    if draws and weighting == "prob":
        assert counts is not None, "a sample says how often each response was drawn"
        own = np.append(counts, draws - counts.sum())
        times = rng.multinomial(draws, own / draws, _RESAMPLES)
        shares: np.ndarray = times[:, :n] @ eps / draws
        return shares
    times = rng.multinomial(n, np.full(n, 1 / n), _RESAMPLES)
    if weighting == "paper":
        sums: np.ndarray = times @ -(mean_logprobs * eps)
        return sums
    weights = np.exp(mean_logprobs - mean_logprobs.max())
    # A resample may hold none but responses of no weight: a mean over nothing is 0.
    totals = times @ weights
    risks: np.ndarray = times @ (weights * eps) / np.where(totals > 0, totals, 1)
    return risks


class Spread:
    """Mean and standard deviation of a stream of reward-model scores (Welford, by batches)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, values: Iterable[float]) -> None:
        """Take in a batch of scores."""
        batch = np.fromiter(values, np.float64)
        if len(batch) == 0:
            return
        total = self.count + len(batch)
        delta = float(batch.mean()) - self.mean
        self._squares += float(((batch - batch.mean()) ** 2).sum())
        self._squares += delta**2 * self.count * len(batch) / total
        self.mean += delta * len(batch) / total
        self.count = total

    @property
    def std(self) -> float:
        """Population standard deviation; 0 where all scores are one, rounding aside."""
        std = math.sqrt(self._squares / self.count) if self.count else 0.0
        return std if std > SAME * abs(self.mean) else 0.0


@dataclass(frozen=True, slots=True)
class RewardScale:
    """Mean and standard deviation of each reward model's scores: their own units are arbitrary."""

    means: tuple[float, ...]
    stds: tuple[float, ...]

    def standardised(self, rewards: Sequence[Sequence[float]]) -> np.ndarray:
        """(models, responses) raw scores to (responses,): standardised and averaged over models.

        A model that scores all alike says 0 of each.
        """
        raw = np.asarray(rewards, np.float64)
        stds = np.array(self.stds)[:, None]
        units = (raw - np.array(self.means)[:, None]) / np.where(stds > 0, stds, np.inf)
        mean: np.ndarray = units.mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """What SEAM of one prompt is made of."""

    seam_prob: float
    seam_paper: float
    hack_rate: float
    """Share of the hack set that the reward model puts above the golden response."""
    plausibility: float
    """Mean log-probability per token of the hack set, nats: how likely the policy says such."""
    hack_set: int
    """Responses scored."""
    golden_reward: float
    """Standard deviations from the mean of the reward model's scores."""
    golden_logprob: float
    """Mean per token, nats."""

    def under(self, weighting: str) -> float:
        """SEAM under `prob` or `paper`."""
        return self.seam_paper if weighting == "paper" else self.seam_prob


def mean_logprobs(scores: SetScores) -> np.ndarray:
    """Log-probability per token of golden (index 0) and worse responses, nats, shape (1 + N,)."""
    tokens = np.maximum(np.asarray(scores.tokens, np.float64), 1)
    per_token: np.ndarray = np.asarray(scores.logprobs, np.float64) / tokens
    return per_token


def misjudgements(scores: SetScores, scale: RewardScale) -> np.ndarray:
    """``eps_i = max(R(r_i) - R(r_gold), 0)`` in standard deviations, shape (N,)."""
    rewards = scale.standardised(scores.rewards)
    eps: np.ndarray = np.maximum(rewards[1:] - rewards[0], 0.0)
    return eps


def discrepancy(
    scores: SetScores,
    scale: RewardScale,
    counts: np.ndarray | None = None,
    draws: int = 0,
) -> Discrepancy:
    """SEAM and its parts from the scores of a golden response and its hack set.

    `counts` and `draws` are as in `seam`.
    """
    per_token = mean_logprobs(scores)
    eps = misjudgements(scores, scale)
    drawn = np.ones(len(eps)) if counts is None else counts
    known = np.maximum(per_token[1:], _IMPOSSIBLE)
    total = drawn.sum() or 1.0
    return Discrepancy(
        seam_prob=seam(per_token[1:], eps, "prob", drawn, draws),
        seam_paper=seam(per_token[1:], eps, "paper"),
        hack_rate=float(drawn @ (eps > 0) / total),
        plausibility=float(drawn @ known / total),
        hack_set=len(eps),
        golden_reward=float(scale.standardised(scores.rewards)[0]),
        golden_logprob=float(per_token[0]),
    )


def worst_responses(
    scores: SetScores, scale: RewardScale, drawn: np.ndarray | None = None
) -> np.ndarray:
    """Positions among the scored worse responses, the one that weighs most in SEAM first.

    By misjudgement times likelihood, or times how often each was `drawn` where they are a sample of
    the policy; those that are not misjudged follow, nearest to being so first. Shape (N,).
    """
    weights = np.exp(mean_logprobs(scores)[1:]) if drawn is None else drawn
    contribution = weights * misjudgements(scores, scale)
    return np.lexsort((-scale.standardised(scores.rewards)[1:], -contribution))
