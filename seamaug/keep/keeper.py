"""Keeps the best of a part's candidates: by the rule, within the limits, looking ahead."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from seamaug.config import Config
from seamaug.keep.outlook import Outlook, Pair, Seen
from seamaug.keep.rules import Case, KeepRule
from seamaug.records import KEPT

STEP = "step"
"""Column of a stored part: of what was kept, the features of the chosen less those of the rejected
response, float32, of all reward models one after the other. The outlook is rebuilt from it."""
OVER_BUDGET = "over budget"
WORTH_LESS = "worth less than others"
FLATTENS = "flattens the reward model"
_WINDOW = 100  # kept examples, at least, over which a gain is told


class Limits(Protocol):
    """What else keeps a candidate out, given what was kept before."""

    def problem(self, case: Case) -> str:
        """Why it may not be kept; empty if it may."""
        ...

    def take(self, case: Case) -> None:
        """It is kept."""
        ...


class Keeper:
    """Judges the candidates of one part after the other."""

    def __init__(self, rule: KeepRule, config: Config, outlook: Outlook | None) -> None:
        """`outlook`: None where the reward models do not show their features."""
        self.rule = rule
        self.outlook = outlook
        self._config, self._examples = config.keep, config.examples
        self._curve = [outlook.seen()] if outlook else []

    def judge(self, cases: Sequence[Case], room: int, limits: Limits) -> None:
        """Give each case its verdict: at most `room` are kept, and `keep.share` of them all.

        The best one is kept, the others are looked at again in its light, and so on. Keeping one
        hardly ever makes another worth more, so only what may now be the best is looked at again
        (lazy greedy selection, Minoux 1978).
        """
        outlook = self.outlook.copy() if self.outlook else None
        most = min(room, math.ceil(self._config.share * len(cases)))
        seen = [0] * len(cases)
        queue = [(-self._worth(case, outlook), number) for number, case in enumerate(cases)]
        heapq.heapify(queue)
        kept = 0
        while queue:
            worth, number = -queue[0][0], heapq.heappop(queue)[1]
            case = cases[number]
            if seen[number] < kept < most:
                seen[number], worth = kept, self._worth(case, outlook)
                if queue and -worth > queue[0][0]:
                    heapq.heappush(queue, (-worth, number))
                    continue
            problem = case.problem or ("" if worth > self.rule.least else self.rule.reason)
            problem = problem or (WORTH_LESS if kept == most < room else "")
            problem = problem or (OVER_BUDGET if kept == most else limits.problem(case))
            if problem or (problem := self._flattens(case, outlook)):
                case.candidate.reject(problem)
                continue
            case.candidate.verdict = KEPT
            limits.take(case)
            kept += 1
            if outlook:
                outlook.take(pair_of(case))

    def _worth(self, case: Case, outlook: Outlook | None) -> float:
        """By the rule; the candidate is told first what is foreseen, which the rule may read."""
        if outlook:
            foreseen = outlook.fall(pair_of(case), case.parent.id)
            case.candidate.predicted_reduction = foreseen + case.policy_side
        case.candidate.worth = self.rule.worth(case)
        return case.candidate.worth

    def _flattens(self, case: Case, outlook: Outlook | None) -> str:
        if outlook is None or self._config.variance_tolerance is None:
            return ""
        case.candidate.predicted_variance = foreseen = outlook.variance_after(pair_of(case))
        return FLATTENS if outlook.is_flat(foreseen, self._config.variance_tolerance) else ""

    def steps(self, cases: Sequence[Case]) -> dict[str, bytes]:
        """By candidate's id, what `take` needs of those that were kept."""
        if self.outlook is None:
            return {}
        kept = (case for case in cases if case.candidate.verdict == KEPT)
        return {case.candidate.id: np.concatenate(pair_of(case)).tobytes() for case in kept}

    def take(self, table: pa.Table) -> None:
        """Look on from a finished part, in one way for a stored one and one just made."""
        if self.outlook is None:
            return
        for step in table[STEP].to_pylist():
            if step is not None:
                self.outlook.take(self.outlook.split(np.frombuffer(step, np.float32)))
        self._curve.append(self.outlook.seen())

    def gain(self) -> tuple[int, float] | None:
        """The last kept examples and the share of SEAM that they lowered, as foreseen.

        At least 5 % of the budget and 100; None while there are fewer.
        """
        last = self._curve[-1] if self._curve else None
        window = max(_WINDOW, round(0.05 * self._examples(last.kept))) if last else _WINDOW
        for point in reversed(self._curve):
            if last and last.kept - point.kept >= window:
                fall = (point.seam - last.seam) / (self._curve[0].seam or 1.0)
                return last.kept - point.kept, fall
        return None

    @property
    def is_saturated(self) -> bool:
        """Whether the last examples bought less than `keep.saturation`."""
        least, gain = self._config.saturation, self.gain()
        return least is not None and gain is not None and gain[1] < least

    @property
    def seen(self) -> Seen | None:
        """What is foreseen after the last part."""
        return self._curve[-1] if self._curve else None

    def foreseen(self) -> dict[str, Any]:
        """For run.json: SEAM and reward variance after so many examples; the rule."""
        points = [asdict(point) for point in self._curve]
        return {"rule": self.rule.name, "curve": points, "last": self.gain()}


def pair_of(case: Case) -> Pair:
    """The pair that training would see."""
    return [features[0] - features[case.rejected + 1] for features in case.scores.features]
