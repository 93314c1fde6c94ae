"""Figures against values computed by hand, and against the package's own SEAM."""

import math
from typing import Any

import numpy as np
import pytest

from seamaug.diagnosis.figures import (
    Rewarded,
    Sampled,
    difference_objectives,
    discrepancies,
    mismatch_rates,
    off_policy_accuracies,
    on_policy_accuracies,
    teaching,
)
from seamaug.diagnosis.judging import FAILED, GOLDEN, Verdicts, judge
from seamaug.diagnosis.statistics import Bootstrap, Statistic, mean_of
from seamaug.records import Evidence, Failure, Seed
from seamaug.reward_variance import reward_variances
from seamaug.verify.worse import Verifier

NAN = float("nan")


def verdicts(shortfalls: Any, verifiers: Any = None) -> Verdicts:
    short = np.array(shortfalls, float)
    names = (
        np.full(short.shape, "vote", object) if verifiers is None else np.array(verifiers, object)
    )
    return Verdicts(short, names, short > 0)


def value(statistic: Statistic) -> float:
    return float(statistic.combine(statistic.columns.sum(axis=0)))


def test_reward_variance_is_the_published_one() -> None:
    rewards = np.random.default_rng(0).normal(3.0, 5.0, (7, 10))
    whitened = (rewards - rewards.mean()) / rewards.std(ddof=1)
    assert reward_variances(rewards) == pytest.approx(whitened.var(axis=1, ddof=1))
    # A reward model's unit and zero are arbitrary.
    assert reward_variances(2.5 * rewards + 70) == pytest.approx(reward_variances(rewards))


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6])
def test_rewards_that_differ_by_rounding_alone_have_no_variance(constant: float) -> None:
    rewards = np.full((3, 4), constant)
    rewards[0, 0] *= 1 + 1e-7
    assert list(reward_variances(rewards)) == [0.0, 0.0, 0.0]


def test_on_policy_accuracy_counts_the_pairs_that_the_judge_tells_apart() -> None:
    judged = verdicts([[0.0, 1.0, 2.0], [1.0, 1.0, NAN], [0.0, 1.0, 1.0]])
    rewards = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 1.0, 0.0]])
    # First: 0 > 1 and 0 > 2 agree, 1 > 2 does not. Third: a tie of the model is no agreement.
    found = on_policy_accuracies(rewards, judged)
    assert found[0] == pytest.approx(2 / 3)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(1 / 2)
    ten = np.random.default_rng(0).permuted(np.tile(np.arange(10.0), (1, 1)), axis=1)
    assert np.count_nonzero(verdicts(-ten).better(*np.triu_indices(10, 1))) == 45


def test_verdicts_of_different_verifiers_are_not_compared() -> None:
    judged = verdicts([[0.0, 3.0, 1.0, 0.0]], [["vote", "vote", "final number", GOLDEN]])
    i, j = np.triu_indices(4, 1)
    pairs = dict(zip(zip(i, j, strict=True), judged.better(i, j)[0], strict=True))
    assert pairs[0, 1] == 1
    assert pairs[0, 2] == pairs[1, 2] == pairs[0, 3] == 0
    assert pairs[1, 3] == pairs[2, 3] == -1  # the golden response is better, whoever judged


def test_mismatch_is_between_policies() -> None:
    ours, theirs = verdicts([[0.0, 2.0]]), verdicts([[1.0]])
    rewards, others = np.array([[0.0, 3.0]]), np.array([[1.0]])
    assert list(mismatch_rates(rewards, ours, others, theirs)) == [1.0]
    assert list(mismatch_rates(-rewards, ours, -others, theirs)) == [0.0]
    assert math.isnan(mismatch_rates(rewards, ours, others, verdicts([[NAN]]))[0])


def test_difference_objective_is_that_of_metarm() -> None:
    rewards = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 3.0]])
    by_hand = 2 / 9 * sum(1 / (1 + math.exp(-d)) for d in (1.0, 3.0, 2.0))
    assert difference_objectives(rewards) == pytest.approx([2 / 9 * 3 * 0.5, by_hand])


def test_off_policy_accuracy_and_the_teacher_score() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(4, 5))
    rewarded = Rewarded(samples, np.array([1.0, 1.0, 1.0, NAN]), [[0.0, 2.0], [0.0], [], []])
    found = off_policy_accuracies(rewarded)
    assert list(found[:2]) == [0.5, 1.0]
    assert np.isnan(found[2:]).all()
    sampled = _sampled(samples, verdicts(-samples))  # the judge agrees with the model
    figures = teaching(sampled, rewarded, 0.05)
    assert value(figures["accuracy_gap"]) == pytest.approx(0.75 - 1.0)
    variance = reward_variances(samples).mean()
    assert value(figures["reward_variance"]) == pytest.approx(variance)
    assert value(figures["teacher_score"]) == pytest.approx((variance + (0.75 + 1.0) / 2) / 2)
    without = teaching(_sampled(samples, verdicts(samples * NAN)), rewarded, 0.05)
    assert value(without["teacher_score"]) == pytest.approx((variance + 0.75) / 2)


def _sampled(rewards: np.ndarray, judged: Verdicts, tokens: Any = None) -> Sampled:
    shape = rewards.shape
    lengths = np.full(shape, 4.0) if tokens is None else np.array(tokens, float)
    logprobs = -np.arange(1.0, 1 + rewards.size).reshape(shape)
    return Sampled(logprobs, lengths, np.ones(shape, int), judged)


def test_seam_is_that_of_the_on_policy_estimator() -> None:
    rewards = np.array([[0.0, 4.0, 1.0, 4.0], [1.0, 2.0, 3.0, 9.0]])
    judged = verdicts([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    sampled = _sampled(rewards, judged)
    # The second and the fourth sample are one text: it was drawn twice.
    sampled.counts[0] = [1, 2, 1, 0]
    rewarded = Rewarded(rewards, np.array([2.0, 2.0]), [[], []])
    std = rewards.std(ddof=1)
    found = discrepancies(sampled, rewarded)
    # Two of four draws lie 2 above the golden response, one below, one is right.
    assert value(found["seam_prob"]) == pytest.approx((2 * 2 / 4 / std + 0) / 2)
    logprob = sampled.logprobs[0, 1] / 4
    assert value(found["seam_paper"]) == pytest.approx((-logprob * 2 / std + 0) / 2)
    assert value(found["hack_rate"]) == pytest.approx(2 / 3)  # the second prompt has none
    own = [sampled.logprobs[0, 1], sampled.logprobs[0, 1], sampled.logprobs[0, 2]]
    assert value(found["plausibility"]) == pytest.approx(sum(own) / 3 / 4)
    assert value(found["distinct_responses"]) == pytest.approx((3 / 4 + 1) / 2)


def test_a_draw_that_a_failing_judge_left_unjudged_is_no_draw() -> None:
    rewards = np.array([[0.0, 3.0, 3.0, 3.0, 1.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    names = np.array([["vote", "vote", FAILED, FAILED, ""], ["vote"] * 5])
    judged = verdicts([[0.0, 1.0, NAN, NAN, NAN], [0.0] * 5], names)
    rewarded = Rewarded(rewards, np.array([2.0, 2.0]), [[], []])
    found = discrepancies(_sampled(rewards, judged), rewarded)
    # Of five two were not judged; of one nothing could be told, as is the case for a user's own.
    assert found["seam_prob"].values[0] == pytest.approx(1 / 3 / rewards.std(ddof=1))


def test_seam_needs_a_golden_response_and_a_judge() -> None:
    rewards = np.array([[0.0, 1.0], [0.0, 1.0]])
    sampled = _sampled(rewards, verdicts([[1.0, 1.0], [NAN, NAN]]))
    found = discrepancies(sampled, Rewarded(rewards, np.array([NAN, 2.0]), [[], []]))
    for name in ("seam_prob", "seam_paper", "hack_rate"):
        assert not found[name].known.any()


def test_conflict_and_tau_compare_reward_with_likelihood() -> None:
    rewards = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    sampled = _sampled(rewards, verdicts(rewards * NAN))  # log-probabilities fall
    found = discrepancies(sampled, Rewarded(rewards, np.full(3, NAN), [[], [], []]))
    assert found["kendall_tau"].values == pytest.approx([-1.0, 1.0, NAN], nan_ok=True)
    z = (np.arange(4) - 1.5) / np.arange(4).std()
    assert found["conflict"].values == pytest.approx([2 * abs(z).mean(), 0.0, abs(z).mean()])


def test_length_correlation_is_within_prompts() -> None:
    # Between the prompts length and reward rise together, within them they fall.
    rewards = np.array([[1.0, 0.0], [11.0, 10.0]])
    sampled = _sampled(rewards, verdicts(rewards * NAN), [[1, 2], [21, 22]])
    found = discrepancies(sampled, Rewarded(rewards, np.full(2, NAN), [[], []]))
    assert value(found["length_correlation"]) == pytest.approx(-1.0)


def test_an_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        figure = Bootstrap(50, seed).figure(mean_of(rng.normal(1.0, 2.0, 50)), "none")
        covered += figure.low <= 1.0 <= figure.high  # type: ignore[operator]
    assert 178 <= covered <= 199  # 190 expected; percentile intervals are a little short


def test_a_figure_says_why_it_is_not_there() -> None:
    figure = Bootstrap(3, 0).figure(mean_of(np.full(3, NAN)), "no judge")
    assert (figure.value, figure.low, figure.prompts, figure.missing) == (None, None, 0, "no judge")
    some = Bootstrap(3, 0).figure(mean_of(np.array([1.0, NAN, 3.0])), "no judge")
    assert (some.value, some.prompts, some.missing) == (2.0, 2, "")
    assert some.quantiles == (1.0, 1.5, 2.0, 2.5, 3.0)


def test_what_a_judge_says_becomes_a_shortfall() -> None:
    seed = Seed("", [{"role": "user", "content": "2 + 2?"}], "A: 4", [], "", "", "")

    def check(cases: Any) -> Any:
        told = {
            "A: 5": Evidence("final number", 1.0),
            "fine": Evidence("final number", 1.0, worse=False),
            "near": Evidence("vote", 0.25),
            "failed": Failure("no reply"),
        }
        return [[told.get(text) for text in texts] for _, texts in cases]

    texts = ["A: 5", "fine", "near", "failed", "dunno", "", " A: 4 "]
    (found,) = judge(Verifier([check]), [(seed, texts)], {"vote"})
    assert found.shortfalls == [1.0, 0.0, 0.25, None, None, None, 0.0]
    names = ["final number", "final number", "vote", FAILED, "", "", GOLDEN]
    assert found.verifiers == names
    assert found.worse == [True, False, True, False, False, False, False]
    assert found.failures == ["no reply"]
