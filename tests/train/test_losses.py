"""Losses against values by hand, definitions in loops, and autograd."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from seamaug.train.losses import (
    balanced_assignment,
    contrasted,
    difference_objective,
    preference_loss,
    simcse_loss,
    swav_loss,
)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_plain_loss_by_hand() -> None:
    d = torch.tensor([0.0, math.log(3)])  # σ = 1/2 and 3/4
    assert preference_loss(d).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


@pytest.mark.parametrize(("d", "m", "a"), [(1.2, 0.0, 0.1), (0.3, 0.7, 0.0), (-0.5, -1.0, 0.3)])
def test_margin_and_smoothing_are_the_published_formula(d: float, m: float, a: float) -> None:
    wanted = -((1 - a) * log_sigmoid(d - m) + a * log_sigmoid(m - d))
    assert preference_loss(torch.tensor([d]), m, a).item() == pytest.approx(wanted, rel=1e-6)


def test_smoothing_of_one_flips_the_label() -> None:
    d = torch.tensor([0.4, -2.0])
    torch.testing.assert_close(preference_loss(d, smoothing=1.0), preference_loss(-d))


def test_each_pair_has_its_own_margin_and_smoothing() -> None:
    d, m, a = (torch.tensor(x) for x in ([0.5, -1.0], [0.2, -0.3], [0.0, 0.4]))
    alone = [preference_loss(d[i : i + 1], m[i : i + 1], a[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(preference_loss(d, m, a), sum(alone) / 2)


def test_the_margin_has_a_gradient() -> None:
    # Inside the log-sigmoid: dL/dd = −σ(m − d).
    d = torch.tensor([0.5], requires_grad=True)
    preference_loss(d, margin=2.0).backward()
    assert d.grad is not None
    assert d.grad.item() == pytest.approx(-1 / (1 + math.exp(-1.5)))


def test_no_overflow_where_margins_are_huge() -> None:
    d = torch.tensor([1e4, -1e4])
    assert preference_loss(d, smoothing=0.1).isfinite()
    assert preference_loss(d).item() == pytest.approx(5e3)


def test_differences_go_both_ways() -> None:
    features = torch.tensor([[3.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    wanted = torch.tensor([[2.0, 1.0], [1.0, -1.0], [-2.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(contrasted(features, "differences"), wanted)
    assert contrasted(features, "features") is features


def test_simcse_by_hand() -> None:
    # cosines: 1 with its own view, 0 with the other one's
    view = torch.eye(2) * torch.tensor([[2.0], [5.0]])
    wanted = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert simcse_loss(view, torch.eye(2), temperature=0.5).item() == pytest.approx(wanted)


def test_simcse_is_its_definition() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(5, 7), torch.randn(5, 7)
    total = 0.0
    for i in range(5):
        cosines = [functional.cosine_similarity(first[i], z, dim=0) / 0.05 for z in second]
        total -= cosines[i] - torch.stack(cosines).logsumexp(0)
    torch.testing.assert_close(simcse_loss(first, second), torch.as_tensor(total / 5))


def test_assignment_is_balanced_and_follows_the_scores() -> None:
    torch.manual_seed(1)
    scores = functional.normalize(torch.randn(60, 4), dim=-1)
    assigned = balanced_assignment(scores, rounds=50)
    torch.testing.assert_close(assigned.sum(1), torch.ones(60))
    torch.testing.assert_close(assigned.sum(0), torch.full((4,), 15.0), rtol=1e-3, atol=1e-3)
    all_alike = torch.zeros(6, 3)
    torch.testing.assert_close(balanced_assignment(all_alike), torch.full((6, 3), 1 / 3))
    apart = balanced_assignment(torch.eye(3))
    assert apart.argmax(1).tolist() == [0, 1, 2]
    assert apart.min() >= 0


def test_swav_swaps_the_views() -> None:
    torch.manual_seed(2)
    first, second, prototypes = torch.randn(8, 5), torch.randn(8, 5), torch.randn(3, 5)

    def scores(view: torch.Tensor) -> torch.Tensor:
        pairs = [[functional.cosine_similarity(z, c, dim=0) for c in prototypes] for z in view]
        return torch.tensor(pairs)

    p, p2 = ((scores(v) / 0.1).softmax(-1).log() for v in (first, second))
    q, q2 = (balanced_assignment(scores(v)) for v in (first, second))
    wanted = -sum((q2[i] * p[i] + q[i] * p2[i]).sum() for i in range(8)) / 16
    torch.testing.assert_close(swav_loss(first, second, prototypes), wanted)


def test_no_gradient_through_the_assignment() -> None:
    torch.manual_seed(3)
    prototypes = torch.randn(3, 4, dtype=torch.float64)
    second = torch.randn(6, 4, dtype=torch.float64)
    fixed = balanced_assignment(
        functional.normalize(second, dim=-1) @ functional.normalize(prototypes, dim=-1).T
    )

    def by_first(first: torch.Tensor) -> torch.Tensor:  # the part of the loss that learns q'
        p = (functional.normalize(first, dim=-1) @ functional.normalize(prototypes, dim=-1).T) / 0.1
        return -(fixed * p.log_softmax(-1)).sum(-1).mean() / 2

    first = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(swav_loss(first, second, prototypes), first)
    (wanted,) = torch.autograd.grad(by_first(first), first)
    torch.testing.assert_close(ours, wanted)


def test_difference_objective_by_hand() -> None:
    rewards = torch.tensor([[0.0, 1.0, 3.0]])
    sigmoid = [1 / (1 + math.exp(-x)) for x in (1.0, 3.0, 2.0)]
    assert difference_objective(rewards).item() == pytest.approx(2 / 9 * sum(sigmoid))
    alike, apart = torch.zeros(4, 3), torch.tensor([[-1e3, 0.0, 1e3]])
    assert difference_objective(alike).item() == pytest.approx(1 / 3)
    assert difference_objective(apart).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: preference_loss(x[:, 0], 0.3, 0.2),
        lambda x: simcse_loss(x, x.flip(0) + 1, 0.5),
        lambda x: difference_objective(x),
    ],
    ids=["preference", "simcse", "difference"],
)
def test_gradients_are_those_of_finite_differences(
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(4)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (x,))
