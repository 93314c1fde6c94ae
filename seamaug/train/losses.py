"""Losses of reward models as pure functions (arXiv 2401.06080, "Secrets of RLHF II").

Below, ``r_c`` and ``r_r`` are the rewards of a pair's chosen and rejected response,
``d = r_c − r_r`` and ``p = σ(d)``; ``mu`` is the pair's preference strength. Losses of pairs have
shape (pairs,), so that a trainer may weigh or average them.
"""

import torch
from torch.nn.functional import cross_entropy, logsigmoid, normalize


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """``−log σ(d)``: (pairs,)."""
    return -logsigmoid(chosen - rejected)


def flipped(
    chosen: torch.Tensor, rejected: torch.Tensor, wrong: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards with the labels of the pairs that are `wrong` (bool, (pairs,)) turned round."""
    return torch.where(wrong, rejected, chosen), torch.where(wrong, chosen, rejected)


def smoothed(chosen: torch.Tensor, rejected: torch.Tensor, smoothing: float) -> torch.Tensor:
    """``−[(1 − a) log p + a log(1 − p)]`` with a the `smoothing`, in [0, 0.5): (pairs,).

    The paper does not publish its a.
    """
    difference = chosen - rejected
    return -(1 - smoothing) * logsigmoid(difference) - smoothing * logsigmoid(-difference)


def with_margin(
    chosen: torch.Tensor, rejected: torch.Tensor, strength: torch.Tensor
) -> torch.Tensor:
    """``−log σ(d − mu)``: (pairs,).

    The printed formula has mu outside the logarithm, where it would have no gradient.
    """
    return -logsigmoid(chosen - rejected - strength)


def soft_with_margin(
    chosen: torch.Tensor, rejected: torch.Tensor, strength: torch.Tensor
) -> torch.Tensor:
    """Soft labels where mu < 0 and margins elsewhere: (pairs,).

    ``−[q log σ(d) + (1 − q) log σ(−d)]`` with ``q = σ(mu)`` where mu < 0, since the ensemble doubts
    the label; ``−log σ(d − mu)`` elsewhere. The paper combines the two and prints no formula.
    """
    difference, target = chosen - rejected, torch.sigmoid(strength)
    soft = -target * logsigmoid(difference) - (1 - target) * logsigmoid(-difference)
    return torch.where(strength < 0, soft, with_margin(chosen, rejected, strength))


def differences(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Features of pairs for a contrastive loss, ``f_c − f_r`` and then ``f_r − f_c``.

    (pairs, width) twice to (2 pairs, width).
    """
    return torch.cat([chosen - rejected, rejected - chosen])


def simcse(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.05) -> torch.Tensor:
    """InfoNCE of two dropout views (Gao et al. 2021, equation 1): a scalar.

    ``−mean_i log [exp(s_ii / τ) / Σ_j exp(s_ij / τ)]`` with ``s_ij`` the cosine of ``first_i`` and
    ``second_j``, shape (texts, width) each. The paper adds it with weight 1.
    """
    cosines = normalize(first, dim=-1) @ normalize(second, dim=-1).T
    return cross_entropy(cosines / temperature, torch.arange(len(first), device=first.device))


def swav(
    first: torch.Tensor,
    second: torch.Tensor,
    prototypes: torch.Tensor,
    temperature: float = 0.1,
    smoothness: float = 0.05,
    rounds: int = 3,
) -> torch.Tensor:
    """Swapped prediction over prototypes (Caron et al. 2020, equations 1 and 2): a scalar.

    ``−½ mean_i Σ_k [q'_ik log p_ik + q_ik log p'_ik]``: each view predicts the other's code q;
    ``p = softmax(z·c / τ)`` with z and c of unit length. first, second: (texts, width);
    prototypes: (K, width). 2401.06080 has K = 50 and weight 0.1, on differences 20 and 0.5.
    """
    unit = normalize(prototypes, dim=-1)
    scores = [normalize(view, dim=-1) @ unit.T for view in (first, second)]
    codes = [assignments(own.detach(), smoothness, rounds) for own in scores]
    logs = [torch.log_softmax(own / temperature, dim=-1) for own in scores]
    swapped = (codes[1] * logs[0]).sum(-1) + (codes[0] * logs[1]).sum(-1)
    return -swapped.mean() / 2


def assignments(scores: torch.Tensor, smoothness: float, rounds: int) -> torch.Tensor:
    """Codes that use all prototypes alike (Sinkhorn-Knopp), (texts, K): each row sums to 1."""
    code = torch.exp((scores - scores.max()) / smoothness)
    for _ in range(rounds):
        code = code / code.sum(dim=0, keepdim=True)
        code = code / code.sum(dim=1, keepdim=True)
    return code


def difference_objective(rewards: torch.Tensor) -> torch.Tensor:
    """MetaRM's J, ``2/k² Σ_{i<j} σ(|r(x, s_i) − r(x, s_j)|)``, mean over prompts: a scalar.

    rewards: of k samples of the policy to each prompt, (prompts, k). The higher, the further the
    model tells the policy's own responses apart.
    """
    k = rewards.shape[1]
    i, j = torch.triu_indices(k, k, 1, device=rewards.device)
    apart = torch.sigmoid((rewards[:, i] - rewards[:, j]).abs())
    return 2 / k**2 * apart.sum(dim=1).mean()
