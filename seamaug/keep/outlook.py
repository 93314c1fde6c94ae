"""What training on the kept candidates would do to the reward model, foreseen on probes.

Each kept candidate moves a virtual copy of the reward model's last layer (head.py). What SEAM and
the variance of the rewards then are follows from features that were computed once, so that looking
one candidate further ahead costs some products of vectors, and no forward pass.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from seamaug.keep.head import VirtualHead
from seamaug.reward_variance import reward_variances


@dataclass(frozen=True)
class Probes:
    """Worse responses to some prompts, by how far their features lie from the golden one's.

    SEAM of prompt x is ``Σ_i p_i max(ε_i, 0)`` with ``ε_i = r(x, y_i) − r(x, golden)``. For rewards
    ``v·φ`` that is ``ε_i = v·d_i`` with ``d_i = φ_i − φ_golden``, the rows of `differences`, and
    mean SEAM is ``Σ_i weights_i max(v·d_i, 0)``, `weights` being p_i over the number of prompts. So
    a step ``v ← v + δ`` (head.py; δ = σ(−w·d) H⁻¹d of a pair) moves each misjudgement by ``δ·d_i``
    and, to first order, mean SEAM by ``Σ_i weights_i [v·d_i > 0] δ·d_i``; here it is taken exactly.
    What the policy would say (p_i) is held fixed, and ``v`` is brought back to the unit of SEAM,
    the standard deviation of all rewards, after each step: a step that only stretches all rewards
    lowers nothing.
    """

    differences: np.ndarray
    """φ(worse) − φ(golden), the features of all reward models side by side: (responses, width)."""
    weights: np.ndarray
    """What a unit of misjudgement adds to mean SEAM: (responses,)."""

    def seam(self, direction: np.ndarray) -> float:
        """Mean SEAM of the prompts, for rewards along this direction of the features."""
        return float(self.weights @ np.maximum(self.differences @ direction, 0.0))


@dataclass(frozen=True)
class Seen:
    """What is foreseen after training on some kept examples."""

    kept: int
    seam: float
    """Mean over the probes, in standard deviations of the reward model's scores."""
    variance: float
    """Of the rewards of a prompt's samples, mean over prompts (arXiv 2503.15477)."""


Pair = list[np.ndarray]
"""Features of a chosen less those of a rejected response, by reward model: (width,) each."""


class Outlook:
    """Virtual heads of the reward models, and what is seen with them."""

    def __init__(
        self,
        heads: Sequence[VirtualHead],
        spreads: Sequence[np.ndarray],
        probes: Probes,
        near: Callable[[str], Probes],
        samples: np.ndarray,
        local: float,
        own: Mapping[str, np.ndarray],
    ) -> None:
        """`heads`: of each reward model; `spreads`: covariance of its features, (width, width).

        `probes`: of seeds at random; `near`: of those around a parent, by its id; `samples`:
        features of the policy's own responses to some prompts, (prompts, samples, width);
        `local`: weight of what is near in the fall of SEAM; the rest is that of the probes;
        `own`: by parent's id, features of its golden less those of its worst response, (width,),
        of parents that have one.
        """
        self._local = local
        self._own = own
        self._heads = list(heads)
        self._spreads = list(spreads)
        self._probes = probes
        self._near = near
        self._samples = samples
        self._direction = self._standardised([head.weights for head in heads])
        self._kept = 0
        self.variance_at_first = self.variance

    def _standardised(self, weights: Sequence[np.ndarray]) -> np.ndarray:
        """The direction of rewards that are standardised, and averaged over the models."""
        stds = [
            np.sqrt(max(own @ spread @ own, 1e-30))
            for own, spread in zip(weights, self._spreads, strict=True)
        ]
        scaled = [own / std for own, std in zip(weights, stds, strict=True)]
        return np.concatenate(scaled) / len(scaled)

    def _after(self, pair: Pair) -> np.ndarray:
        moved = [h.weights + h.step(own) for h, own in zip(self._heads, pair, strict=True)]
        return self._standardised(moved)

    def _variance(self, direction: np.ndarray) -> float:
        if not len(self._samples):
            return 0.0
        return float(reward_variances(self._samples @ direction).mean())

    def copy(self) -> "Outlook":
        """Another one that goes on from here by itself."""
        other = copy(self)
        other._heads = [head.copy() for head in self._heads]
        return other

    def split(self, features: np.ndarray) -> Pair:
        """Features of all reward models, (width,) together, by model."""
        ends = np.cumsum([len(head.weights) for head in self._heads])
        return np.split(features, ends[:-1])

    def own_pair(self, parent: str) -> Pair | None:
        """The parent's golden and worst response; None if it has no worse one."""
        return self.split(self._own[parent].astype(np.float64)) if parent in self._own else None

    def seen(self) -> Seen:
        """What the probes show after training on all that was taken."""
        return Seen(self._kept, self._probes.seam(self._direction), self.variance)

    def seam_near(self, parent: str) -> float:
        """Mean SEAM of the parent and the seeds near to it, after training on what was taken."""
        return self._near(parent).seam(self._direction)

    @property
    def variance(self) -> float:
        """Reward variance after training on all that was taken."""
        return self._variance(self._direction)

    def fall(self, pair: Pair, parent: str) -> float:
        """By how much mean SEAM falls when the pair is trained on as well.

        A weighted mean over what is near (the parent and the seeds near to it) and the probes. A
        step changes SEAM near its parent far more than elsewhere, and much of that is learnt by
        heart, without a gain for other prompts; but few probes lie where it matters.
        """
        after, near = self._after(pair), self._near(parent)
        here, there = (own.seam(self._direction) - own.seam(after) for own in (near, self._probes))
        return self._local * here + (1 - self._local) * there

    def spread(self) -> float:
        """Standard deviation of the fall of the probes' SEAM by training on each of their pairs."""
        if not len(self._probes.differences):
            return 0.0
        before = self._probes.seam(self._direction)
        after = [
            self._probes.seam(self._after(self.split(-row))) for row in self._probes.differences
        ]
        return float(np.std(before - np.array(after)))

    def variance_after(self, pair: Pair) -> float:
        """Reward variance when the pair is trained on as well."""
        return self._variance(self._after(pair))

    def flattens(self, pair: Pair, tolerance: float | None) -> bool:
        """Whether the pair lowers the reward variance further when it is, or would be, more than
        this share below what it was at first; None: never."""
        return tolerance is not None and self.is_flat(self.variance_after(pair), tolerance)

    def is_flat(self, variance: float, tolerance: float) -> bool:
        """`flattens`, of the variance after a pair."""
        floor = (1 - tolerance) * self.variance_at_first
        return variance < min(floor, self.variance)

    def take(self, pair: Pair) -> None:
        """Train on the pair."""
        self._kept += 1
        for head, own in zip(self._heads, pair, strict=True):
            head.take(own)
        self._direction = self._standardised([head.weights for head in self._heads])
