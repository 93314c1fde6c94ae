"""A reward model's last layer, moved as training on pairs would move it.

For a reward ``r = w·φ`` and a pair with ``d = φ_chosen − φ_rejected`` the Bradley–Terry loss is
``−log σ(w·d)``. Its gradient in w is ``−σ(−w·d) d`` and its Hessian ``s d dᵀ``, with
``s = σ(w·d) σ(−w·d)``. Let H be the sum of the Hessians of the pairs that made w. With one pair
more, the weights of least loss lie, to first order, one Newton step away:

    H ← H + s d dᵀ
    w ← w + σ(−w·d) H⁻¹ d

which by Sherman and Morrison needs no new inverse: ``H⁻¹ d`` after the update is
``P d / (1 + s dᵀP d)`` with ``P = H⁻¹`` from before it. This gives the step a size: a pair is one
row more beside those before it. What is learnt already moves the weights little (σ(−w·d) is small),
and so does what was often seen (H is large in its direction).

It is the online Newton step for the logistic loss (Hazan, Agarwal, Kale 2007); for a single pair it
is its influence (Koh, Liang 2017, arXiv 1703.04730) on the last layer.
"""

from copy import copy

import numpy as np


class VirtualHead:
    """Weights of a last layer, with the inverse Hessian that says how far a pair moves them."""

    def __init__(self, weights: np.ndarray, pairs: np.ndarray, rows: float, ridge: float) -> None:
        """Weights (width,) in the model's own units, as training on `rows` pairs left them.

        `pairs`: differences of features like those of the pairs that the model was trained on,
        (pairs, width). `ridge`: share of the Hessian's mean diagonal that is added to it, so that
        no pair moves the weights far in a direction in which those pairs hardly differ.
        """
        self.weights = weights.astype(np.float64)
        _, curvatures = _loss(pairs @ self.weights)
        hessian = (pairs * curvatures[:, None]).T @ pairs / max(len(pairs), 1)
        scale = np.trace(hessian) / len(hessian)
        hessian[np.diag_indices_from(hessian)] += ridge * scale if scale else 1.0
        self._inverse = np.linalg.inv(hessian) / rows

    def copy(self) -> "VirtualHead":
        """Another one that goes on from here by itself."""
        other = copy(self)
        other._inverse = self._inverse.copy()
        return other

    def step(self, pair: np.ndarray) -> np.ndarray:
        """How training on a pair moves the weights: (width,).

        `pair`: features of the chosen less those of the rejected response, (width,).
        """
        return self._step(pair)[0]

    def take(self, pair: np.ndarray) -> None:
        """Train on the pair: later steps start from there."""
        change, towards, shrink = self._step(pair)
        self.weights = self.weights + change
        self._inverse -= shrink * np.outer(towards, towards)

    def _step(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The step; P d; and by how much of (P d)(P d)ᵀ the inverse falls."""
        pull, curvature = _loss(pair @ self.weights)
        towards = self._inverse @ pair
        damping = 1 + curvature * float(pair @ towards)
        return pull / damping * towards, towards, float(curvature / damping)


def _loss(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Less the first derivative of −log σ(m), which is σ(−m), and the second one."""
    pulls = 1 / (1 + np.exp(np.minimum(margins, 500.0)))
    return pulls, pulls * (1 - pulls)
