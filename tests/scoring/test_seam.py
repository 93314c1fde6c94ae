"""SEAM by hand, and what it must not depend on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.records import SetScores
from seamaug.scoring.seam import Spread, discrepancy, misjudgement, seam, worst_responses

SCORES = SetScores(
    logprobs=[-2.0, -4.0, -6.0, -9.0],
    tokens=[2, 4, 3, 9],
    rewards=[1.0, 3.0, 2.0, 0.5],
)
NUMBERS = st.floats(-1e3, 1e3)


def test_by_hand() -> None:
    # Per token: golden -1; worse -1, -2, -1. In units of std 2: eps 1, 0.5, 0.
    found = discrepancy(SCORES, 2.0)
    e1, e2 = math.exp(-1), math.exp(-2)
    assert found.seam_prob == pytest.approx((e1 * 1 + e2 * 0.5) / (e1 + e2 + e1))
    assert found.seam_paper == pytest.approx(1 * 1 + 2 * 0.5 + 0)
    assert found.hack_rate == pytest.approx(2 / 3)
    assert found.plausibility == pytest.approx(-4 / 3)
    assert found.hack_set == 3
    assert found.golden_reward == 1.0
    assert found.golden_logprob == -1.0
    assert (found.under("prob"), found.under("paper")) == (found.seam_prob, found.seam_paper)


def test_misjudgement() -> None:
    found = misjudgement(np.array([3.0, 1.0, 0.0]), 1.0, 4.0)
    assert found.tolist() == [0.5, 0.0, 0.0]


def test_higher_is_worse() -> None:
    """Under Definition 1 a likelier mistake weighs more; the published form turns that round."""
    eps = np.array([1.0, 0.0])
    likely, unlikely = np.array([-1.0, -3.0]), np.array([-5.0, -3.0])
    assert seam(likely, eps, "prob") > seam(unlikely, eps, "prob") > 0
    assert 0 < seam(likely, eps, "paper") < seam(unlikely, eps, "paper")
    for weighting in ("prob", "paper"):
        assert seam(likely, eps * 2, weighting) == 2 * seam(likely, eps, weighting)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-50, 0), st.integers(1, 20), NUMBERS), min_size=2, max_size=8),
    st.floats(1e-3, 1e3),
    NUMBERS,
)
def test_units_of_the_reward_model_do_not_matter(
    rows: list[tuple[float, int, float]], scale: float, shift: float
) -> None:
    logprobs, tokens, rewards = (list(column) for column in zip(*rows, strict=True))

    def scored(values: list[float]) -> tuple[float, float]:
        spread = Spread()
        spread.add(values)
        item = discrepancy(SetScores(logprobs, tokens, values), spread.std)
        return item.seam_prob, item.seam_paper

    if np.ptp(rewards) < 1e-2:  # rounding of the shift, not the measure, would be tested
        return
    moved = [scale * reward + shift for reward in rewards]
    if np.ptp(moved) < 1e-5 * max(map(abs, moved)):
        return
    assert scored(moved) == pytest.approx(scored(rewards), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("weighting", ["prob", "paper"])
def test_nothing_to_sum(weighting: str) -> None:
    assert seam(np.array([]), np.array([]), weighting) == 0.0
    alone = discrepancy(SetScores([-3.0], [3], [1.5]), 1.0)
    assert alone.under(weighting) == 0.0
    assert (alone.hack_set, alone.hack_rate) == (0, 0.0)
    assert worst_responses(SetScores([-3.0], [3], [1.5])).tolist() == []
    equal = discrepancy(SetScores([-3.0] * 3, [3] * 3, [0.1] * 3), 1.0)
    assert equal.under(weighting) == 0.0


def test_equal_likelihoods_give_the_mean() -> None:
    assert seam(np.full(4, -7.0), np.array([1.0, 2.0, 3.0, 0.0]), "prob") == pytest.approx(1.5)


def test_very_unlikely_responses_do_not_underflow() -> None:
    # exp(-2000) is 0 in float64.
    assert seam(np.array([-2000.0, -2001.0]), np.array([1.0, 0.0]), "prob") == pytest.approx(
        1 / (1 + math.exp(-1))
    )


@pytest.mark.parametrize(
    ("logprobs", "prob"), [([-np.inf, -np.inf], 1.5), ([-np.inf, -1.0], 3.0), ([-1.0, -np.inf], 0)]
)
def test_impossible_responses_give_a_number(logprobs: list[float], prob: float) -> None:
    eps = np.array([0.0, 3.0])
    assert seam(np.array(logprobs), eps, "prob") == pytest.approx(prob)
    assert 0 < seam(np.array(logprobs), eps, "paper") < np.inf
    scores = SetScores([-1.0, *logprobs], [1, 1, 1], [0.0, 0.0, 3.0])
    assert not np.isnan(discrepancy(scores, 1.0).seam_prob)
    assert not np.isnan(discrepancy(scores, 1.0).seam_paper)


def test_worst_weighs_likelihood_and_size() -> None:
    def worst(logprobs: list[float], rewards: list[float]) -> list[int]:
        scores = SetScores([-1.0, *(2 * x for x in logprobs)], [1, 2, 2, 2], [0.0, *rewards])
        return worst_responses(scores).tolist()

    assert worst([-1.0, -1.0, -1.0], [1.0, 3.0, 2.0]) == [1, 2, 0]
    assert worst([-1.0, -5.0, -1.0], [1.0, 3.0, 2.0]) == [2, 0, 1]
    # What is not misjudged follows, the nearest to being so first.
    assert worst([-1.0, -5.0, -9.0], [-3.0, -2.0, -1.0]) == [2, 1, 0]
    assert worst([-1.0, -5.0, -9.0], [-3.0, 0.5, -1.0]) == [1, 2, 0]
    assert worst([-np.inf, -1.0, -1.0], [9.0, 1.0, -1.0]) == [1, 0, 2]


def test_empty_response_counts_as_one_token() -> None:
    found = discrepancy(SetScores([0.0, 0.0], [0, 0], [0.0, 1.0]), 1.0)
    assert (found.seam_prob, found.golden_logprob) == (1.0, 0.0)


@given(st.lists(st.lists(NUMBERS, max_size=7), max_size=7))
def test_spread_equals_numpy(batches: list[list[float]]) -> None:
    spread = Spread()
    for batch in batches:
        spread.add(batch)
    values = np.array([value for batch in batches for value in batch])
    assert spread.count == len(values)
    if len(values):
        assert spread.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
        wanted = values.std()
        if wanted > 1e-6:
            assert spread.std == pytest.approx(wanted, rel=1e-6)


def test_spread_far_from_zero() -> None:
    spread = Spread()
    for start in (0, 1, 2):
        spread.add(1e9 + np.arange(start, 9, 3))
    assert spread.std == pytest.approx(np.arange(9).std(), rel=1e-6)


def test_spread_without_differences_is_one() -> None:
    spread = Spread()
    assert spread.std == 1.0
    spread.add([])
    assert (spread.count, spread.std) == (0, 1.0)
    spread.add([2.0, 2.0])
    spread.add([2.0])
    assert (spread.count, spread.mean, spread.std) == (3, 2.0, 1.0)
