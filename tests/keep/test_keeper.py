"""The keeper: the best first, each in the light of those before it, within all limits."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seamaug.config import Config
from seamaug.keep.head import VirtualHead
from seamaug.keep.keeper import FLATTENS, OVER_BUDGET, STEP, WORTH_LESS, Keeper, pair_of
from seamaug.keep.outlook import Outlook, Probes
from seamaug.keep.rules import Case, Discrepant, Lookahead
from seamaug.records import KEPT, REJECTED, Candidate, Parent, SetScores

WIDTH = 5


class Limits:
    """At most so many by one operator."""

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.kept: list[str] = []

    def problem(self, case: Case) -> str:
        return "quota" if self.kept.count(case.candidate.operator) >= self.most else ""

    def take(self, case: Case) -> None:
        self.kept.append(case.candidate.operator)


def config(**keep: Any) -> Config:
    return Config.model_validate({"budget": 1000, "keep": {"share": 1.0, **keep}})


def outlook(seed: int = 0) -> Outlook:
    rng = np.random.default_rng(seed)
    head = VirtualHead(rng.normal(size=WIDTH), rng.normal(size=(60, WIDTH)), rows=30, ridge=0.1)
    spread = np.cov(rng.normal(size=(100, WIDTH)), rowvar=False)
    far, near = (
        Probes(rng.normal(size=(4 * n, WIDTH)), np.full(4 * n, 1 / (4 * n))) for n in (30, 5)
    )
    return Outlook([head], [spread], far, lambda _: near, rng.normal(size=(8, 4, WIDTH)), 0.1, {})


def cases(count: int, seed: int = 0, seams: list[float] | None = None) -> list[Case]:
    rng = np.random.default_rng([seed, 7])
    parent: Any = Parent(
        "p",
        0,
        [],
        "g",
        ["g"],
        [None],
        [],
        [],
        [],
        {},
        ["w"],
        ["given"],
        ["given"],
        [None],
        [1.0],
        "",  # type: ignore[typeddict-item]
    )
    found = []
    for number in range(count):
        candidate = Candidate(str(number), "p", [], "c", f"op{number % 2}", "rule", "", [])
        candidate.seam_before, candidate.seam_after = 1.0, (seams or [1.0] * count)[number]
        scores = SetScores(features=[rng.normal(size=(2, WIDTH)).astype(np.float32)])
        found.append(Case(candidate, parent, scores, 0))
    return found


def verdicts(given: list[Case]) -> list[str]:
    return [case.candidate.reason or case.candidate.verdict for case in given]


def discrepant(**keep: Any) -> Keeper:
    own = config(**keep)
    return Keeper(Discrepant(own.keep), own, None)


def test_the_best_are_kept_as_far_as_there_is_room() -> None:
    given = cases(5, seams=[0.1, 0.5, 0.0, 0.4, 0.3])
    discrepant().judge(given, 2, Limits())
    none = Discrepant.reason
    assert verdicts(given) == [OVER_BUDGET, KEPT, none, KEPT, OVER_BUDGET]
    assert {case.candidate.verdict for case in given} == {KEPT, REJECTED}


def test_of_a_part_a_share_is_kept() -> None:
    given = cases(5, seams=[0.1, 0.5, math.nan, 0.4, 0.3])
    discrepant(share=0.4).judge(given, 100, Limits())
    assert verdicts(given) == [WORTH_LESS, KEPT, Discrepant.reason, KEPT, WORTH_LESS]


def test_what_a_limit_keeps_out_makes_room() -> None:
    given = cases(6, seams=[0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    limits = Limits(most=1)
    discrepant(share=0.5).judge(given, 100, limits)
    assert verdicts(given) == [KEPT, KEPT, "quota", "quota", "quota", "quota"]
    assert limits.kept == ["op0", "op1"]


def test_a_case_with_a_problem_is_rejected_with_it() -> None:
    first, second = cases(2, seams=[0.9, 0.8])
    refused = Case(first.candidate, first.parent, first.scores, 0, "chosen equals rejected")
    discrepant().judge([refused, second], 100, Limits())
    assert verdicts([refused, second]) == ["chosen equals rejected", KEPT]


def lookahead(**keep: Any) -> Keeper:
    own = config(**{"variance_tolerance": None, **keep})
    return Keeper(Lookahead(own.keep), own, outlook())


def greedily(given: list[Case], count: int) -> float:
    """What is foreseen when all that is left is looked at again, each time."""
    ahead, left, total = outlook(), list(given), 0.0
    for _ in range(count):
        falls = [ahead.fall(pair_of(case), "p") for case in left]
        best = int(np.argmax(falls))
        total += falls[best]
        ahead.take(pair_of(left.pop(best)))
    return total


def test_look_ahead_keeps_nearly_what_greed_keeps() -> None:
    given = cases(40)
    lookahead().judge(given, 8, Limits())
    kept = [c.candidate.predicted_reduction or 0 for c in given if c.candidate.verdict == KEPT]
    at_first = sorted(outlook().fall(pair_of(case), "p") for case in given)
    assert len(kept) == 8
    assert sum(kept) > 0.85 * greedily(given, 8)
    assert sum(kept) != pytest.approx(sum(at_first[-8:]))  # each was seen in the others' light
    assert all(case.candidate.predicted_reduction is not None for case in given)


def test_near_copies_of_what_is_kept_stop_paying() -> None:
    one = max(cases(40), key=lambda case: outlook().fall(pair_of(case), "p"))
    copies = [
        Case(Candidate(str(n), "p", [], "c", "op", "rule", "", []), one.parent, one.scores, 0)
        for n in range(60)
    ]
    lookahead().judge(copies, 60, Limits())
    told = verdicts(copies)
    assert 0 < told.count(KEPT) < 10
    assert told.count(KEPT) + told.count(Lookahead.reason) == 60


def part_of(keeper: Keeper, given: list[Case]) -> pa.Table:
    steps = keeper.steps(given)
    return pa.table({STEP: pa.array([steps.get(c.candidate.id) for c in given], pa.binary())})


def test_a_resumed_keeper_judges_as_one_that_was_never_stopped() -> None:
    first, second = cases(20, seed=1), cases(20, seed=2)
    keeper = lookahead(share=0.5)
    keeper.judge(first, 100, Limits())
    table = part_of(keeper, first)
    keeper.take(table)
    keeper.judge(second, 100, Limits())

    again, resumed = cases(20, seed=2), lookahead(share=0.5)
    resumed.take(table)
    resumed.judge(again, 100, Limits())
    assert verdicts(again) == verdicts(second)
    assert [c.candidate.predicted_reduction for c in again] == [
        c.candidate.predicted_reduction for c in second
    ]
    other = cases(20, seed=2)
    lookahead(share=0.5).judge(other, 100, Limits())
    assert verdicts(other) != verdicts(second)


def test_judging_learns_nothing_until_the_part_is_stored() -> None:
    keeper, given = lookahead(), cases(10)
    keeper.judge(given, 5, Limits())
    assert keeper.outlook is not None
    assert keeper.outlook.seen().kept == 0
    keeper.take(part_of(keeper, given))
    assert keeper.outlook.seen().kept == verdicts(given).count(KEPT) > 0


def test_the_reward_model_is_not_flattened() -> None:
    def variance(keep: dict[str, Any]) -> tuple[float, float, list[Case]]:
        own = config(**keep)
        keeper, given = Keeper(Discrepant(own.keep), own, outlook()), cases(60, seed=5)
        keeper.judge(given, 60, Limits())
        keeper.take(part_of(keeper, given))
        assert keeper.outlook is not None
        return keeper.outlook.variance_at_first, keeper.outlook.variance, given

    first, free, unguarded = variance({"variance_tolerance": None})
    assert free < 0.97 * first  # else the guard has nothing to do
    assert all(case.candidate.predicted_variance is None for case in unguarded)
    _, guarded, given = variance({"variance_tolerance": 0.01})
    assert guarded >= 0.99 * first * (1 - 1e-9)
    assert FLATTENS in verdicts(given)
    for case in given:  # the row says what the guard judged, and the rule
        assert case.candidate.worth == case.candidate.seam_after
        if case.candidate.reason == FLATTENS:
            assert case.candidate.predicted_variance is not None
            assert case.candidate.predicted_variance < 0.99 * first


def test_it_says_when_more_buys_nothing() -> None:
    own = config(saturation=0.01, variance_tolerance=None)
    keeper = Keeper(Discrepant(own.keep), own, outlook())
    gains = []
    while not keeper.is_saturated and len(gains) < 20:
        given = cases(60)
        keeper.judge(given, 60, Limits())
        keeper.take(part_of(keeper, given))
        gains.append(keeper.gain())
    assert keeper.is_saturated
    assert gains[0] is None  # fewer than a hundred say nothing
    assert gains[-1] is not None
    assert gains[-1][0] >= 100
    assert gains[-1][1] < 0.01
    curve = keeper.foreseen()["curve"]
    assert [point["kept"] for point in curve] == [60 * part for part in range(len(gains) + 1)]
