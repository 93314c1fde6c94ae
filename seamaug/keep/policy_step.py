"""The policy's side of the look-ahead: the fall of SEAM that one step of SFT on a variant promises.

Let l_ij be the mean log-probability per token of response j of prompt i's hack set, g_ij its
gradient, and g' the gradient of a variant's chosen response. A step at learning rate eta moves the
weights by eta g', so l_ij by eta <g_ij, g'> and SEAM_i by eta <G_i, g'> with

    G_i = sum_j dSEAM_i/dl_ij g_ij:

one vector for each watched prompt, however large its hack set. Gradients are the sketches of
`seamaug.models.sketch`; the rewards stay as they are. It is of first order only: what was kept
before changes neither G nor g', so near copies of it are not worth less to the policy.
"""

from collections.abc import Callable

import numpy as np


def seam_slopes(
    mean_logprobs: np.ndarray,
    eps: np.ndarray,
    weighting: str,
    tokens: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    draws: int = 0,
) -> np.ndarray:
    """dSEAM/dl_j of one prompt at its mean log-probabilities per token l and misjudgements, (N,).

    `prob`: SEAM = sum_j a_j eps_j with a = softmax(l), so a_j (eps_j - SEAM): what is misjudged
    less than the rest lowers SEAM where it becomes likelier.
    `prob` of a sample (`draws`, of which `counts` were response j, of `tokens`): SEAM estimates
    E[eps], whose gradient is E[eps dlog P] with log P = tokens x l, so counts_j eps_j tokens_j /
    draws. There is no baseline: it would take the gradients of the draws that are not worse.
    `paper`: SEAM = sum_j -l_j eps_j, so -eps_j; 0 where the policy rules a response out, whose l
    counts as a constant.
    """
    if weighting == "paper":
        return np.where(np.isneginf(mean_logprobs), 0.0, -eps)
    if draws:
        assert tokens is not None, "a sample's responses count by their tokens"
        assert counts is not None, "a sample says how often each response was drawn"
        drawn: np.ndarray = counts * eps * tokens / draws
        return drawn
    if len(eps) == 0:
        return np.zeros(0)
    # As in SEAM itself, all that the policy rules out is equally likely where there is no other.
    known = np.maximum(mean_logprobs, np.finfo(np.float64).min)
    shares = np.exp(known - known.max())
    shares /= shares.sum()
    slopes: np.ndarray = shares * (eps - shares @ eps)
    return slopes


class PolicyStep:
    """Foresees from the watched prompts' G what SFT on a variant does to their SEAM."""

    def __init__(
        self, probes: np.ndarray, near: Callable[[str], np.ndarray], local: float, eta: float
    ) -> None:
        """`probes`: mean G of seeds at random, (k,); `near`: of those around a parent, by its id;
        `local`: weight of what is near, as in `Outlook`; `eta`: learning rate of plain gradient
        descent on the mean of -log p over the response's tokens.
        """
        self._probes, self._near = probes, near
        self._local, self._eta = local, eta

    def fall(self, sketch: np.ndarray, parent: str) -> float:
        """By how much mean SEAM falls; `sketch`: of the variant's chosen response, (k,)."""
        watched = self._local * self._near(parent) + (1 - self._local) * self._probes
        return -self._eta * float(watched @ sketch)
