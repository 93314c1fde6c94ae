"""What rewards, log-probabilities and a judge's verdicts say of one policy with one reward model.

Formulas: arXiv 2503.15477 (variance, accuracy, teacher score), 2406.07971 (SEAM, mismatch),
2512.09212 (conflict), 2401.06080 (difference objective).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import kendalltau

from seamaug.diagnosis.judging import Verdicts
from seamaug.diagnosis.statistics import Statistic, mean_in_units, mean_of, share_of, together
from seamaug.records import SetScores
from seamaug.reward_variance import is_constant, reward_variances, standardised
from seamaug.scoring.seam import Discrepancy, RewardScale, discrepancy


@dataclass(frozen=True)
class Sampled:
    """A policy's responses to each prompt, and what a judge found of them: (prompts, samples)."""

    logprobs: np.ndarray
    """Sums in nats."""
    tokens: np.ndarray
    counts: np.ndarray
    """How often a text was drawn, at its first place; 0 at the others."""
    verdicts: Verdicts

    @property
    def per_token(self) -> np.ndarray:
        """Mean log-probability per token, nats."""
        mean: np.ndarray = self.logprobs / np.maximum(self.tokens, 1)
        return mean


@dataclass(frozen=True)
class Rewarded:
    """Raw rewards of one model on the same prompts."""

    samples: np.ndarray
    """(prompts, samples)."""
    golden: np.ndarray
    """(prompts,); NaN where there is no golden response."""
    worse: Sequence[Sequence[float]]
    """Of each prompt's given worse responses."""


def teaching(sampled: Sampled, rewarded: Rewarded, floor: float) -> dict[str, Statistic]:
    """Whether the reward model moves this policy, and where to: the figures of 2503.15477."""
    units = standardised(rewarded.samples)
    variances = reward_variances(rewarded.samples)
    on = mean_of(on_policy_accuracies(rewarded.samples, sampled.verdicts))
    off = mean_of(off_policy_accuracies(rewarded))
    variance = mean_in_units(variances, units, 2)

    def score(variance: np.ndarray, on: np.ndarray, off: np.ndarray) -> np.ndarray:
        """With the mean of both accuracies, or the one there is."""
        accuracy = np.where(np.isnan(on), off, np.where(np.isnan(off), on, (on + off) / 2))
        mean: np.ndarray = (variance + accuracy) / 2
        return mean

    return {
        "reward_variance": variance,
        "flat_prompts": share_of(variances < floor),
        "on_policy_accuracy": on,
        "off_policy_accuracy": off,
        "accuracy_gap": together([off, on], np.subtract),
        "teacher_score": together([variance, on, off], score),
        "difference_objective": mean_of(difference_objectives(rewarded.samples)),
    }


def discrepancies(sampled: Sampled, rewarded: Rewarded) -> dict[str, Statistic]:
    """SEAM over the samples that the judge finds worse, and how reward and policy disagree."""
    units = standardised(rewarded.samples)
    scale = _scale(rewarded.samples)
    found = [_discrepancy(sampled, rewarded, scale, prompt) for prompt in range(len(units))]
    conflicts, taus = _conflicts(units, sampled.per_token)
    return {
        "seam_prob": mean_in_units(_part(found, "seam_prob"), units, 1),
        "seam_paper": mean_in_units(_part(found, "seam_paper"), units, 1),
        "hack_rate": mean_of(_part(found, "hack_rate", filled=True)),
        "plausibility": mean_of(_part(found, "plausibility", filled=True)),
        "conflict": mean_of(conflicts),
        "kendall_tau": mean_of(taus),
        "length_correlation": _correlation(sampled.tokens, units),
        "distinct_responses": mean_of((sampled.counts > 0).mean(axis=1)),
    }


def on_policy_accuracies(rewards: np.ndarray, verdicts: Verdicts) -> np.ndarray:
    """Share of each prompt's pairs of samples that the model orders as the judge does: (prompts,).

    Pairs that the judge finds equal do not count; where it tells all apart, ten samples make 45. A
    tie of the model is no agreement. NaN where no pair counts.
    """
    i, j = np.triu_indices(rewards.shape[1], 1)
    judged = verdicts.better(i, j)
    return _agreement(np.sign(rewards[:, i] - rewards[:, j]), judged)


def mismatch_rates(
    rewards: np.ndarray, verdicts: Verdicts, others: np.ndarray, their_verdicts: Verdicts
) -> np.ndarray:
    """Share of pairs of responses of two policies that model and judge order differently.

    rewards: of one policy's samples; others: of another's to the same prompts. (prompts,); NaN
    where the judge tells none apart.
    """
    judged = verdicts.better_than(their_verdicts)
    told = np.sign(rewards[:, :, None] - others[:, None, :])
    shape = len(rewards), -1
    return 1.0 - _agreement(told.reshape(shape), judged.reshape(shape))


def _agreement(told: np.ndarray, judged: np.ndarray) -> np.ndarray:
    counted = judged != 0
    total = counted.sum(axis=1)
    agreed = (counted & (told == judged)).sum(axis=1)
    share: np.ndarray = np.where(total > 0, agreed / np.maximum(total, 1), np.nan)
    return share


def off_policy_accuracies(rewarded: Rewarded) -> np.ndarray:
    """Share of each prompt's given pairs in which the golden response has the higher reward."""
    return np.array(
        [
            np.mean([golden > reward for reward in worse]) if worse else np.nan
            for golden, worse in zip(rewarded.golden, rewarded.worse, strict=True)
        ],
        float,
    )


def difference_objectives(rewards: np.ndarray) -> np.ndarray:
    """``J = 2/k² Σ_{i<j} σ(|r(x, s_i) − r(x, s_j)|)`` over k samples, raw rewards: (prompts,).

    Between (k−1)/2k, where all rewards are equal, and twice that. What MetaRM ascends
    (arXiv 2401.06080).
    """
    k = rewards.shape[1]
    i, j = np.triu_indices(k, 1)
    objectives: np.ndarray = 2 / k**2 * expit(np.abs(rewards[:, i] - rewards[:, j])).sum(axis=1)
    return objectives


def _conflicts(rewards: np.ndarray, logprobs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each prompt's samples mean |z_reward − z_logprob|, and Kendall's τ-b of both: (prompts,).

    logprobs: means per token, so that length does not decide. A prompt whose samples all have one
    reward, or one probability, has no τ (NaN).
    """
    conflicts = np.abs(_z(rewards) - _z(logprobs)).mean(axis=1)
    taus = [
        kendalltau(own, theirs).statistic if np.ptp(own) > 0 and np.ptp(theirs) > 0 else np.nan
        for own, theirs in zip(rewards, logprobs, strict=True)
    ]
    return conflicts, np.array(taus, float)


def _z(values: np.ndarray) -> np.ndarray:
    """z-scores within each row; 0 where a row is constant."""
    spread = values.std(axis=1, keepdims=True)
    centred = values - values.mean(axis=1, keepdims=True)
    scores: np.ndarray = np.where(spread > 1e-9, centred / np.maximum(spread, 1e-9), 0.0)
    return scores


def _correlation(lengths: np.ndarray, rewards: np.ndarray) -> Statistic:
    """Pearson correlation within prompts: both are taken from their mean over a prompt's samples,
    so that it does not show that long answers belong to certain prompts."""
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (lengths, rewards))
    columns = np.stack([(x * y).sum(1), (x**2).sum(1), (y**2).sum(1)], axis=1)

    def combine(sums: np.ndarray) -> np.ndarray:
        scale = np.sqrt(sums[..., 1] * sums[..., 2])
        value: np.ndarray = np.where(
            scale > 0, sums[..., 0] / np.where(scale > 0, scale, 1), np.nan
        )
        return value

    return Statistic(columns, combine, (columns[:, 1] > 0) & (columns[:, 2] > 0))


def _scale(rewards: np.ndarray) -> RewardScale:
    """Of the rewards of all samples; rewards that are all one number have no unit."""
    spread = 0.0 if is_constant(rewards) else float(rewards.std(ddof=1))
    return RewardScale((float(rewards.mean()),), (spread,))


def _discrepancy(
    sampled: Sampled, rewarded: Rewarded, scale: RewardScale, prompt: int
) -> Discrepancy | None:
    """SEAM of one prompt as the on-policy estimator has it; None where nothing can be worse."""
    verdicts, golden = sampled.verdicts, rewarded.golden[prompt]
    if np.isnan(golden) or not verdicts.told(prompt):
        return None
    worse = np.flatnonzero(verdicts.worse[prompt] & (sampled.counts[prompt] > 0))
    samples = rewarded.samples[prompt]
    scores = SetScores(
        logprobs=[np.nan, *sampled.logprobs[prompt, worse]],
        tokens=[1, *sampled.tokens[prompt, worse]],
        rewards=[[float(golden), *samples[worse]]],
    )
    counts = sampled.counts[prompt, worse].astype(float)
    return discrepancy(scores, scale, counts, verdicts.judged(prompt))


def _part(found: Sequence[Discrepancy | None], name: str, *, filled: bool = False) -> np.ndarray:
    """A part of each discrepancy, NaN where there is none; `filled`: nor for an empty hack set."""
    return np.array(
        [
            np.nan if item is None or (filled and not item.hack_set) else getattr(item, name)
            for item in found
        ],
        float,
    )
