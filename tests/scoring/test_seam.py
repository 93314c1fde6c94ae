"""SEAM by hand, and what it must not depend on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.records import SetScores
from seamaug.scoring.seam import (
    RewardScale,
    Spread,
    discrepancy,
    misjudgements,
    seam,
    seam_interval,
    seam_weights,
    worst_responses,
)

SCORES = SetScores(
    logprobs=[-2.0, -4.0, -6.0, -9.0],
    tokens=[2, 4, 3, 9],
    rewards=[[1.0, 3.0, 2.0, 0.5]],
)
NUMBERS = st.floats(-1e3, 1e3)
UNIT = RewardScale((0.0,), (1.0,))


def test_by_hand() -> None:
    # Per token: golden -1; worse -1, -2, -1. In units of std 2: eps 1, 0.5, 0.
    found = discrepancy(SCORES, RewardScale((5.0,), (2.0,)))
    e1, e2 = math.exp(-1), math.exp(-2)
    assert found.seam_prob == pytest.approx((e1 * 1 + e2 * 0.5) / (e1 + e2 + e1))
    assert found.seam_paper == pytest.approx(1 * 1 + 2 * 0.5 + 0)
    assert found.hack_rate == pytest.approx(2 / 3)
    assert found.plausibility == pytest.approx(-4 / 3)
    assert found.hack_set == 3
    assert found.golden_reward == (1.0 - 5.0) / 2.0
    assert found.golden_logprob == -1.0
    assert (found.under("prob"), found.under("paper")) == (found.seam_prob, found.seam_paper)


def test_misjudgements() -> None:
    scores = SetScores([-1.0] * 4, [1] * 4, [[1.0, 3.0, 1.0, 0.0]])
    assert misjudgements(scores, RewardScale((0.5,), (4.0,))).tolist() == [0.5, 0.0, 0.0]


def test_an_ensemble_averages_standardised_scores() -> None:
    # The second model speaks in hundreds; in its own unit it differs by as much as the first.
    scale = RewardScale((0.0, 500.0), (2.0, 100.0))
    rewards = [[1.0, 3.0, 1.0], [300.0, 200.0, 500.0]]
    assert scale.standardised(rewards).tolist() == [-0.75, -0.75, 0.25]
    scores = SetScores([-1.0, -2.0, -3.0], [1, 1, 1], rewards)
    assert misjudgements(scores, scale).tolist() == [0.0, 1.0]
    assert discrepancy(scores, scale).golden_reward == -0.75
    assert worst_responses(scores, scale).tolist() == [1, 0]


def test_a_model_twice_is_that_model() -> None:
    once = discrepancy(SCORES, RewardScale((1.6,), (0.9,)))
    twice = SetScores(SCORES.logprobs, SCORES.tokens, SCORES.rewards * 2)
    assert discrepancy(twice, RewardScale((1.6, 1.6), (0.9, 0.9))) == once


def test_draws_of_the_policy_are_its_probabilities() -> None:
    """The Monte-Carlo form: draws that are not worse weigh in with 0, log-probabilities do not."""
    eps, counts = np.array([1.0, 0.5, 0.0]), np.array([3.0, 2.0, 1.0])
    for logprobs in (np.array([-1.0, -9.0, -2.0]), np.array([-9.0, -np.inf, -1.0])):
        assert seam(logprobs, eps, "prob", counts, 10) == pytest.approx((3 * 1 + 2 * 0.5) / 10)
        # The published form knows of no draws.
        alone = seam(logprobs, eps, "paper")
        assert seam(logprobs, eps, "paper", counts, 10) == alone
    # The same responses from elsewhere are weighted by likelihood, and nothing else is averaged in.
    by_likelihood = seam(np.array([-1.0, -9.0, -2.0]), eps, "prob", counts, 0)
    assert by_likelihood == seam(np.array([-1.0, -9.0, -2.0]), eps, "prob")
    assert by_likelihood > 0.6

    found = discrepancy(SCORES, RewardScale((0.0,), (2.0,)), counts, 10)
    assert found.seam_prob == pytest.approx(0.4)
    assert found.seam_paper == discrepancy(SCORES, RewardScale((0.0,), (2.0,))).seam_paper
    assert found.hack_rate == pytest.approx(5 / 6)
    assert found.plausibility == pytest.approx(-(3 * 1 + 2 * 2 + 1 * 1) / 6)
    assert found.hack_set == 3


def test_what_is_drawn_most_is_the_worst_of_a_sample() -> None:
    scores = SetScores([-1.0, -1.0, -5.0, -2.0], [1] * 4, [[0.0, 1.0, 1.0, 3.0]])
    assert worst_responses(scores, UNIT).tolist() == [2, 0, 1]
    assert worst_responses(scores, UNIT, np.array([1.0, 9.0, 2.0])).tolist() == [1, 2, 0]


def test_no_draw_is_worse() -> None:
    nothing = np.array([])
    assert seam(nothing, nothing, "prob", nothing, 16) == 0.0
    assert seam_interval(nothing, nothing, "prob", nothing, 16) == (0.0, 0.0)
    found = discrepancy(SetScores([-3.0], [3], [[1.5]]), UNIT, nothing, 16)
    assert (found.seam_prob, found.seam_paper, found.hack_rate) == (0.0, 0.0, 0.0)


SETS = st.lists(
    st.tuples(st.floats(-20, 0), st.floats(0, 5), st.integers(1, 4)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(SETS, st.sampled_from(["prob", "paper"]), st.sampled_from([0, 0, 1, 50]))
def test_the_interval_holds_the_value(
    rows: list[tuple[float, float, int]], weighting: str, others: int
) -> None:
    logprobs, eps, counts = (np.array(column, float) for column in zip(*rows, strict=True))
    draws = int(counts.sum()) + others if others else 0
    value = seam(logprobs, eps, weighting, counts, draws)
    low, high = seam_interval(logprobs, eps, weighting, counts, draws, seed=3)
    assert low - 1e-9 <= value <= high + 1e-9
    assert seam_interval(logprobs, eps, weighting, counts, draws, seed=3) == (low, high)
    if weighting == "prob":  # a weighted mean stays among what it is of
        assert -1e-9 <= low <= high <= eps.max() + 1e-9


@pytest.mark.parametrize("draws_each", [0, 2])
def test_the_interval_narrows_with_the_set(draws_each: int) -> None:
    rng = np.random.default_rng(0)

    def width(n: int) -> float:
        eps, logprobs = rng.exponential(size=n), rng.normal(-2, 0.3, size=n)
        low, high = seam_interval(logprobs, eps, "prob", np.ones(n), draws_each * n)
        return high - low

    narrow, wide = width(1600), width(16)
    # By the square root of 100, roughly.
    assert narrow < wide / 4
    # A mean of 1600 unit exponentials: +-1.96 / 40.
    if not draws_each:
        assert narrow == pytest.approx(2 * 1.96 / 40, rel=0.35)


def test_equal_values_leave_nothing_open() -> None:
    low, high = seam_interval(np.array([-1.0, -2.0, -7.0]), np.full(3, 0.5), "prob")
    assert (low, high) == pytest.approx((0.5, 0.5))
    low, high = seam_interval(np.full(4, -3.0), np.full(4, 0.5), "paper")
    assert (low, high) == pytest.approx((6.0, 6.0))
    every_draw = seam_interval(np.full(2, -1.0), np.full(2, 0.5), "prob", np.array([3.0, 2.0]), 5)
    assert every_draw == pytest.approx((0.5, 0.5))
    # One draw more, which was not worse, and the share of worse ones is no longer certain.
    low, high = seam_interval(np.full(2, -1.0), np.full(2, 0.5), "prob", np.array([3.0, 2.0]), 6)
    assert low < seam(np.full(2, -1.0), np.full(2, 0.5), "prob", np.array([3.0, 2.0]), 6) < 0.5
    assert high == pytest.approx(0.5)


def test_another_seed_draws_another_resample() -> None:
    logprobs, eps = np.linspace(-3, -1, 9), np.linspace(0, 2, 9)
    assert seam_interval(logprobs, eps, "prob", seed=1) != seam_interval(
        logprobs, eps, "prob", seed=2
    )


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
        scale = RewardScale((spread.mean,), (spread.std,))
        item = discrepancy(SetScores(logprobs, tokens, [values]), scale)
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
    alone = discrepancy(SetScores([-3.0], [3], [[1.5]]), UNIT)
    assert alone.under(weighting) == 0.0
    assert (alone.hack_set, alone.hack_rate) == (0, 0.0)
    assert worst_responses(SetScores([-3.0], [3], [[1.5]]), UNIT).tolist() == []
    equal = discrepancy(SetScores([-3.0] * 3, [3] * 3, [[0.1] * 3]), RewardScale((0.1,), (1.0,)))
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
    scores = SetScores([-1.0, *logprobs], [1, 1, 1], [[0.0, 0.0, 3.0]])
    found = discrepancy(scores, UNIT)
    assert np.isfinite([found.seam_prob, found.seam_paper, found.plausibility]).all()
    for weighting in ("prob", "paper"):
        assert np.isfinite(seam_interval(np.array(logprobs), eps, weighting)).all()


def test_worst_weighs_likelihood_and_size() -> None:
    def worst(logprobs: list[float], rewards: list[float]) -> list[int]:
        scores = SetScores([-1.0, *(2 * x for x in logprobs)], [1, 2, 2, 2], [[0.0, *rewards]])
        return worst_responses(scores, UNIT).tolist()

    assert worst([-1.0, -1.0, -1.0], [1.0, 3.0, 2.0]) == [1, 2, 0]
    assert worst([-1.0, -5.0, -1.0], [1.0, 3.0, 2.0]) == [2, 0, 1]
    # What is not misjudged follows, the nearest to being so first.
    assert worst([-1.0, -5.0, -9.0], [-3.0, -2.0, -1.0]) == [2, 1, 0]
    assert worst([-1.0, -5.0, -9.0], [-3.0, 0.5, -1.0]) == [1, 2, 0]
    assert worst([-np.inf, -1.0, -1.0], [9.0, 1.0, -1.0]) == [1, 0, 2]


def test_empty_response_counts_as_one_token() -> None:
    found = discrepancy(SetScores([0.0, 0.0], [0, 0], [[0.0, 1.0]]), UNIT)
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
        spread.add(1e5 + np.arange(start, 9, 3))
    assert spread.std == pytest.approx(np.arange(9).std(), rel=1e-6)


def test_spread_without_differences_is_none() -> None:
    spread = Spread()
    assert spread.std == 0.0
    spread.add([])
    assert (spread.count, spread.std) == (0, 0.0)
    spread.add([2.0, 2.0])
    spread.add([2.0])
    assert (spread.count, spread.mean, spread.std) == (3, 2.0, 0.0)


def test_what_a_model_that_scores_all_alike_gives_by_rounding_is_no_misjudgement() -> None:
    rng = np.random.default_rng(0)
    rewards = np.float32(5.3) + rng.integers(-1, 2, 31) * np.spacing(np.float32(5.3))
    spread = Spread()
    spread.add(rewards)
    scale = RewardScale((spread.mean,), (spread.std,))
    scores = SetScores([-1.0] * 31, [1] * 31, [rewards.tolist()])
    found = discrepancy(scores, scale)
    assert (found.seam_prob, found.hack_rate, found.golden_reward) == (0.0, 0.0, 0.0)
    # Beside one that tells responses apart, it takes no part but in the mean.
    both = RewardScale((spread.mean, 0.0), (spread.std, 2.0))
    assert both.standardised([[5.3, 5.3], [2.0, -4.0]]).tolist() == [0.5, -1.0]


@pytest.mark.parametrize("weighting", ["prob", "paper"])
@pytest.mark.parametrize("draws", [0, 9])
def test_weights_are_what_seam_sums_with(weighting: str, draws: int) -> None:
    rng = np.random.default_rng(0)
    logprobs, eps = -rng.exponential(3, 5), np.maximum(rng.normal(size=5), 0)
    counts = np.array([1.0, 2, 1, 3, 1])
    found = seam_weights(logprobs, weighting, counts, draws)
    assert found @ eps == pytest.approx(seam(logprobs, eps, weighting, counts, draws))
    assert found.shape == (5,)
    assert seam_weights(logprobs[:0], weighting, counts[:0], draws).shape == (0,)
