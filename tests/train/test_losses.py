"""Losses against values computed by hand, and against autograd."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from seamaug.diagnosis.figures import difference_objectives
from seamaug.train import losses
from seamaug.train.metarm import meta_gradients

CHOSEN = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
REJECTED = torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64)
STRENGTH = torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64)
D = [1.0, -2.0, 0.0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_losses_of_pairs_by_hand() -> None:
    plain = losses.bradley_terry(CHOSEN, REJECTED)
    assert plain.tolist() == pytest.approx([-math.log(sigmoid(d)) for d in D])
    smoothed = losses.smoothed(CHOSEN, REJECTED, 0.1)
    by_hand = [-0.9 * math.log(sigmoid(d)) - 0.1 * math.log(1 - sigmoid(d)) for d in D]
    assert smoothed.tolist() == pytest.approx(by_hand)
    margin = losses.with_margin(CHOSEN, REJECTED, STRENGTH)
    shifted = [d - mu for d, mu in zip(D, STRENGTH.tolist(), strict=True)]
    assert margin.tolist() == pytest.approx([-math.log(sigmoid(d)) for d in shifted])
    soft = losses.soft_with_margin(CHOSEN, REJECTED, STRENGTH)
    q = sigmoid(-2.0)
    doubted = -q * math.log(sigmoid(-2.0)) - (1 - q) * math.log(sigmoid(2.0))
    assert soft.tolist() == pytest.approx([margin[0].item(), doubted, margin[2].item()])


def test_flipping_is_the_loss_of_the_other_order() -> None:
    wrong = torch.tensor([True, False, True])
    found = losses.bradley_terry(*losses.flipped(CHOSEN, REJECTED, wrong))
    there, back = losses.bradley_terry(CHOSEN, REJECTED), losses.bradley_terry(REJECTED, CHOSEN)
    assert found.tolist() == [back[0], there[1], back[2]]


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (losses.bradley_terry, lambda d, mu: sigmoid(d) - 1),
        (lambda c, r: losses.smoothed(c, r, 0.2), lambda d, mu: sigmoid(d) - 0.8),
        # Inside the log-sigmoid the margin moves the gradient; outside it would not.
        (lambda c, r: losses.with_margin(c, r, STRENGTH), lambda d, mu: sigmoid(d - mu) - 1),
        (
            lambda c, r: losses.soft_with_margin(c, r, STRENGTH),
            lambda d, mu: sigmoid(d) - sigmoid(mu) if mu < 0 else sigmoid(d - mu) - 1,
        ),
    ],
)
def test_gradients_of_pairs_by_hand(
    loss: Callable[..., torch.Tensor], slope: Callable[[float, float], float]
) -> None:
    chosen = CHOSEN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(chosen, REJECTED).sum(), chosen)
    by_hand = [slope(d, mu) for d, mu in zip(D, STRENGTH.tolist(), strict=True)]
    assert gradient.tolist() == pytest.approx(by_hand)


def test_losses_are_finite_far_out() -> None:
    far = torch.tensor([500.0, -500.0])
    for loss in (
        losses.bradley_terry(far, -far),
        losses.smoothed(far, -far, 0.1),
        losses.soft_with_margin(far, -far, torch.tensor([-300.0, 300.0])),
    ):
        assert torch.isfinite(loss).all()


def test_simcse_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    second = torch.tensor([[3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    cosines = np.array([[1.0, 1 / math.sqrt(2)], [0.0, 1 / math.sqrt(2)]]) / 0.5
    logs = cosines - np.log(np.exp(cosines).sum(axis=1, keepdims=True))
    found = losses.simcse(first, second, temperature=0.5)
    assert found.item() == pytest.approx(-(logs[0, 0] + logs[1, 1]) / 2)
    assert torch.autograd.gradcheck(
        lambda x: losses.simcse(x, second, 0.5), (first.requires_grad_(),)
    )


def test_swav_by_hand_and_its_codes_use_all_prototypes() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 12, 4, dtype=torch.float64)
    prototypes = torch.randn(3, 4, dtype=torch.float64)
    codes = losses.assignments(first @ prototypes.T, 0.5, 50)
    assert codes.sum(dim=1).tolist() == pytest.approx([1.0] * 12)
    assert codes.sum(dim=0).tolist() == pytest.approx([4.0] * 3, rel=1e-3)

    unit = prototypes / prototypes.norm(dim=1, keepdim=True)
    total = 0.0
    views = [view / view.norm(dim=1, keepdim=True) @ unit.T for view in (first, second)]
    targets = [losses.assignments(view, 0.05, 3) for view in views]
    for own, code in ((views[0], targets[1]), (views[1], targets[0])):
        shares = (own / 0.1).exp() / (own / 0.1).exp().sum(dim=1, keepdim=True)
        total -= float((code * shares.log()).sum(dim=1).mean())
    assert losses.swav(first, second, prototypes).item() == pytest.approx(total / 2)


def test_codes_have_no_gradient() -> None:
    torch.manual_seed(0)
    view = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    prototypes = torch.randn(3, 4, dtype=torch.float64)
    fixed = losses.assignments(
        torch.nn.functional.normalize(view, dim=-1).detach()
        @ torch.nn.functional.normalize(prototypes, dim=-1).T, 0.05, 3,
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(losses.swav(view, view, prototypes), view)
    logs = torch.log_softmax(
        torch.nn.functional.normalize(view, dim=-1)
        @ torch.nn.functional.normalize(prototypes, dim=-1).T / 0.1, dim=-1,
    )  # fmt: skip
    (expected,) = torch.autograd.grad(-(fixed * logs).sum(-1).mean(), view)
    assert torch.allclose(gradient, expected)


def test_features_of_differences() -> None:
    chosen, rejected = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 5.0]])
    assert losses.differences(chosen, rejected).tolist() == [[1.0, -3.0], [-1.0, 3.0]]


def test_the_difference_objective_is_that_of_the_diagnosis() -> None:
    rewards = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = difference_objectives(rewards.numpy()).mean()
    assert losses.difference_objective(rewards).item() == pytest.approx(mean)


def test_metarm_is_the_step_with_two_copies() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ).double()
    unused = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    samples, chosen, rejected = (torch.randn(n, 4, dtype=torch.float64) for n in (12, 5, 5))

    def objective(net: torch.nn.Module) -> torch.Tensor:
        return losses.difference_objective(net(samples).view(3, 4))

    def loss(net: torch.nn.Module) -> torch.Tensor:
        return losses.bradley_terry(net(chosen), net(rejected)).mean()

    moved = copy.deepcopy(model)
    for parameter, step in zip(
        moved.parameters(), torch.autograd.grad(objective(model), model.parameters()), strict=True
    ):
        parameter.data += 0.3 * step
    expected = torch.autograd.grad(loss(moved), moved.parameters())

    before = copy.deepcopy(model.state_dict())
    parameters = [*model.parameters(), unused]
    found = meta_gradients(parameters, lambda: objective(model), lambda: loss(model), 0.3)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=False))
    assert found[-1].tolist() == [0.0, 0.0]
    assert all(torch.equal(before[name], own) for name, own in model.state_dict().items())
    plain = torch.autograd.grad(loss(model), model.parameters())
    assert not all(torch.allclose(a, b) for a, b in zip(found, plain, strict=False))


def test_metarm_puts_the_parameters_back_where_the_loss_fails() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))

    def fails() -> torch.Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        meta_gradients([weight], lambda: (weight**2).sum(), fails, 0.1)
    assert weight.tolist() == [1.0, 2.0]
