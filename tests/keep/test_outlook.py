"""What is foreseen, against SEAM and variance computed anew from moved rewards."""

import numpy as np
import pytest

from seamaug.keep.head import VirtualHead
from seamaug.keep.outlook import Outlook, Probes

WIDTH = 6


def probes(rng: np.random.Generator, prompts: int, width: int = WIDTH) -> Probes:
    weights = rng.dirichlet(np.ones(4), size=prompts).ravel() / prompts
    return Probes(rng.normal(size=(4 * prompts, width)), weights)


def made(seed: int, models: int = 1) -> tuple[Outlook, Probes, Probes, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    width = WIDTH * models
    heads = [
        VirtualHead(rng.normal(size=WIDTH), rng.normal(size=(40, WIDTH)), rows=40, ridge=0.1)
        for _ in range(models)
    ]
    spread = [np.cov(rng.normal(size=(100, WIDTH)), rowvar=False) for _ in range(models)]
    far, near = probes(rng, 20, width), probes(rng, 5, width)
    samples = rng.normal(size=(7, 4, width))
    outlook = Outlook(heads, spread, far, {"parent": near}.__getitem__, samples, 0.3, {})
    pair = [rng.normal(size=WIDTH) for _ in range(models)]
    return outlook, far, near, pair


@pytest.mark.parametrize("models", [1, 3])
def test_the_fall_foreseen_is_the_fall_that_comes(models: int) -> None:
    outlook, _, near, pair = made(0, models)
    foreseen = outlook.fall(pair, "parent")
    before = 0.7 * outlook.seen().seam + 0.3 * near.seam(outlook._direction)
    outlook.take(pair)
    after = 0.7 * outlook.seen().seam + 0.3 * near.seam(outlook._direction)
    assert foreseen == pytest.approx(before - after)
    assert foreseen != 0


def test_seam_is_that_of_standardised_rewards() -> None:
    outlook, far, _, _ = made(1)
    weights, spread = outlook._heads[0].weights, outlook._spreads[0]
    margins = far.differences @ weights / np.sqrt(weights @ spread @ weights)
    assert outlook.seen().seam == pytest.approx(float(far.weights @ np.maximum(margins, 0)))


def test_the_unit_of_a_reward_model_does_not_matter() -> None:
    """Weights twice as large over features half as large are the same rewards."""
    rng = np.random.default_rng(3)
    weights, pairs, features = (
        rng.normal(size=4),
        rng.normal(size=(30, 4)),
        rng.normal(size=(50, 4)),
    )
    falls = []
    for unit in (1.0, 2.0):
        head = VirtualHead(weights * unit, pairs / unit, rows=30, ridge=0.1)
        spread = np.cov(features / unit, rowvar=False)
        far = Probes(features / unit, np.full(50, 0.02))
        samples = features[:48].reshape(6, 8, 4) / unit
        outlook = Outlook([head], [spread], far, {"": far}.__getitem__, samples, 0.1, {})
        falls.append(outlook.fall([pairs[0] / unit], ""))
    assert falls[0] == pytest.approx(falls[1])


def test_variance_is_as_published() -> None:
    """Normalised by all samples and within a prompt, both unbiased; mean over prompts."""
    outlook, _, _, pair = made(2)
    rewards = outlook._samples @ outlook._heads[0].weights
    wanted = (rewards / rewards.std(ddof=1)).var(axis=1, ddof=1).mean()
    assert outlook.variance == pytest.approx(wanted)
    foreseen = outlook.variance_after(pair)
    assert foreseen != pytest.approx(outlook.variance)
    outlook.take(pair)
    assert outlook.variance == pytest.approx(foreseen)


def test_nothing_to_see() -> None:
    """No probe with a worse response, and no sample of the policy: nothing falls, nothing fails."""
    empty = Probes(np.zeros((0, WIDTH)), np.zeros(0))
    head = VirtualHead(np.ones(WIDTH), np.zeros((0, WIDTH)), rows=8, ridge=0.1)
    samples = np.zeros((0, 8, WIDTH))
    outlook = Outlook([head], [np.eye(WIDTH)], empty, {"": empty}.__getitem__, samples, 0.1, {})
    assert outlook.fall([np.ones(WIDTH)], "") == 0
    outlook.take([np.ones(WIDTH)])
    assert (outlook.seen().seam, outlook.variance) == (0, 0)


def test_a_copy_learns_alone_and_features_come_apart() -> None:
    outlook, _, _, pair = made(4, models=2)
    other = outlook.copy()
    other.take(other.split(np.concatenate(pair)))
    assert (outlook.seen().kept, other.seen().kept) == (0, 1)
    assert outlook.seen().seam != other.seen().seam
    outlook.take(pair)
    assert outlook.seen() == other.seen()
