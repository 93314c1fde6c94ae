"""Losses of robust reward models, as pure functions of tensors.

From "Secrets of RLHF in Large Language Models Part II: Reward Modeling" (arXiv 2401.06080), whose
names are kept. A reward is r, and d = r(chosen) − r(rejected). Terms over several rows are means.
"""

from typing import Literal

import torch
from torch.nn import functional

Kind = Literal["features", "differences"]


def preference_loss(
    differences: torch.Tensor,
    margin: torch.Tensor | float = 0.0,
    smoothing: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """``−[(1−a) log σ(d−m) + a log σ(m−d)]``: Bradley–Terry with a margin m and a soft label a.

    With a = m = 0 it is the plain loss; a = 1 flips the label; a > 0 is label smoothing, and with
    a for doubtful pairs alone the paper's soft label; m = mu is its adaptive margin. (The paper
    prints mu outside the log-sigmoid, where it would have no gradient.)

    differences, margin, smoothing: (pairs,), or one number for all. Returns a scalar.
    """
    shifted = differences - margin
    # −log σ(−x) = −log σ(x) + x
    return (smoothing * shifted - functional.logsigmoid(shifted)).mean()


def contrasted(features: torch.Tensor, kind: Kind) -> torch.Tensor:
    """What contrastive terms compare: features, or the differences within pairs both ways round.

    features: (2 pairs, width), the chosen responses' first. Returns the same shape: f as they are,
    or f_chosen − f_rejected and then f_rejected − f_chosen.
    """
    if kind == "features":
        return features
    chosen, rejected = features.chunk(2)
    return torch.cat([chosen - rejected, rejected - chosen])


def simcse_loss(
    first: torch.Tensor, second: torch.Tensor, temperature: float = 0.05
) -> torch.Tensor:
    """InfoNCE between two dropout views (SimCSE, arXiv 2104.08821, equation 4).

    ``−log exp(cos(z_i, z'_i)/τ) / Σ_j exp(cos(z_i, z'_j)/τ)``

    first, second: (rows, width), the same rows in two views. Returns a scalar.
    """
    cosines = functional.normalize(first, dim=-1) @ functional.normalize(second, dim=-1).T
    return functional.cross_entropy(
        cosines / temperature, torch.arange(len(first)).to(cosines.device)
    )


def swav_loss(
    first: torch.Tensor,
    second: torch.Tensor,
    prototypes: torch.Tensor,
    temperature: float = 0.1,
) -> torch.Tensor:
    """Swapped prediction between two views (SwAV, arXiv 2006.09882, equations 1 and 2).

    Each view's assignment to prototypes is predicted from the other view:
    ``−½ Σ_k [q'_k log p_k + q_k log p'_k]``, p a softmax over cosines to the prototypes and q from
    `balanced_assignment`, through which no gradient goes.

    first, second: (rows, width); prototypes: (K, width). Returns a scalar.
    """
    directions = functional.normalize(prototypes, dim=-1)
    scores = [functional.normalize(view, dim=-1) @ directions.T for view in (first, second)]
    assigned = [balanced_assignment(own.detach()) for own in scores]
    predicted = [functional.log_softmax(own / temperature, dim=-1) for own in scores]
    swapped = assigned[1] * predicted[0] + assigned[0] * predicted[1]
    return -swapped.sum(-1).mean() / 2


def balanced_assignment(
    scores: torch.Tensor, sharpness: float = 0.05, rounds: int = 3
) -> torch.Tensor:
    """Soft assignment of rows to prototypes that uses all of these alike (Sinkhorn–Knopp).

    scores: (rows, K) cosines. `sharpness`: SwAV's ε; `rounds`: its number of iterations. Returns
    (rows, K), each row a distribution.
    """
    logs = (scores / sharpness).float()
    for _ in range(rounds):
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp().to(scores.dtype)


def difference_objective(rewards: torch.Tensor) -> torch.Tensor:
    """MetaRM's J: how well a reward model tells the policy's own samples apart.

    ``2/k² Σ_{i<j} σ(|r_i − r_j|)``, mean over prompts. rewards: (prompts, k), k >= 2. Returns a
    scalar between (k−1)/2k, where all are alike, and twice that.
    """
    k = rewards.shape[1]
    i, j = torch.triu_indices(k, k, offset=1)
    return torch.sigmoid((rewards[:, i] - rewards[:, j]).abs()).sum(1).mean() * 2 / k**2
