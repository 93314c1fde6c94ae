"""The virtual last layer against autograd, against the model itself, and against the least loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from transformers import AutoModelForSequenceClassification

from seamaug.config import RewardConfig
from seamaug.keep.head import VirtualHead
from seamaug.models.reward import RewardModel
from seamaug.records import user_message

PROMPT = user_message("What is the capital of France?")
PAIR = ("Paris.", "I do not know, but I would say Lyon.")
OTHERS = ("Rome", "It is Berlin, of course.", "", "No idea. " * 5)


def last_layer(model: Any) -> Any:
    [layer] = (
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == 1
    )
    return layer


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_step_is_what_autograd_and_the_model_say(saved: Callable[..., str], kind: str) -> None:
    """Its direction is the loss's gradient, and every reward moves as the step says."""
    model = RewardModel(RewardConfig(name=saved(kind, "reward"), device="cpu", dtype="float32"))
    ids = model.conversation_ids(PROMPT, [*PAIR, *OTHERS])
    [before], [features] = model.rewards_and_features([ids])
    assert model.weights is not None
    pair = (features[0] - features[1]).astype(np.float64)
    head = VirtualHead(model.weights, np.eye(len(pair)), rows=10, ridge=0.1)
    step = head.step(pair)

    fresh = AutoModelForSequenceClassification.from_pretrained(model.config.name).float().eval()
    scores = [fresh(input_ids=torch.tensor([row])).logits[0, 0] for row in ids[:2]]
    loss = -torch.nn.functional.logsigmoid(scores[0] - scores[1])
    [gradient] = torch.autograd.grad(loss, last_layer(fresh).weight)
    towards = -head._inverse @ gradient[0].double().numpy()
    curvature = 1 / (2 + 2 * np.cosh(pair @ head.weights))
    assert step * (1 + curvature * (pair @ head._inverse @ pair)) == pytest.approx(
        towards, rel=1e-3, abs=1e-3 * np.abs(towards).max()
    )

    with torch.inference_mode():
        last_layer(model.model).weight += torch.tensor(step, dtype=torch.float32)[None]
    moved = np.array(model.rewards([ids])[0]) - np.array(before)
    predicted = (features - features[0]) @ step
    assert moved - moved[0] == pytest.approx(
        predicted, rel=1e-3, abs=1e-3 * np.abs(predicted).max()
    )
    assert np.abs(predicted).max() > 1e-6


def least_loss(pairs: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """Weights of least Bradley-Terry loss on the pairs, held by a small square penalty."""

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -(pairs @ w)).sum() + w @ pull @ w / 2)

    found: np.ndarray = minimize(loss, np.zeros(pairs.shape[1]), method="BFGS", tol=1e-10).x
    return found


def test_step_is_what_one_more_row_does() -> None:
    """Against training anew, on all pairs and the one more."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(400, 5)) + 0.3
    new = rng.normal(size=5) * 1.5
    weights = least_loss(pairs, np.zeros((5, 5)))
    head = VirtualHead(weights, pairs, rows=400, ridge=1e-3)
    wanted = least_loss(np.vstack([pairs, new]), np.zeros((5, 5))) - weights
    assert head.step(new) == pytest.approx(wanted, rel=0.05, abs=0.02 * np.abs(wanted).max())


def test_what_is_learnt_moves_it_less_and_less() -> None:
    rng = np.random.default_rng(1)
    pair = rng.normal(size=8)
    head = VirtualHead(rng.normal(size=8), rng.normal(size=(50, 8)), rows=50, ridge=0.1)
    sizes, margins = [], []
    for _ in range(20):
        sizes.append(float(np.linalg.norm(head.step(pair))))
        margins.append(float(pair @ head.weights))
        head.take(pair)
    assert sizes == sorted(sizes, reverse=True)
    assert margins == sorted(margins)
    assert sizes[-1] < sizes[0] / 5


def test_the_inverse_stays_the_inverse() -> None:
    """After many steps: of the prior Hessian and the curvatures of what was taken."""
    rng = np.random.default_rng(2)
    pairs = rng.normal(size=(60, 6))
    head = VirtualHead(rng.normal(size=6), pairs, rows=60, ridge=0.1)
    hessian = np.linalg.inv(head._inverse)
    for pair in rng.normal(size=(30, 6)):
        margin = pair @ head.weights
        hessian += np.outer(pair, pair) / (2 + 2 * np.cosh(margin))
        head.take(pair)
    assert np.linalg.inv(head._inverse) == pytest.approx(hessian, rel=1e-6, abs=1e-8)


def test_copy_goes_its_own_way() -> None:
    head = VirtualHead(np.ones(3), np.eye(3), rows=3, ridge=0.1)
    other = head.copy()
    other.take(np.array([1.0, 2.0, 3.0]))
    assert head.weights.tolist() == [1, 1, 1]
    assert other.weights.tolist() != [1, 1, 1]
    assert not np.allclose(head.step(np.ones(3)), other.step(np.ones(3)))
