"""Verifiers: what shows responses to be worse than golden ones."""

import math
from collections.abc import Callable, Sequence

from seamaug.models.engines import RewardEngine
from seamaug.models.rewards import raw_rewards
from seamaug.records import Seed
from seamaug.verify.response import worse_than_golden

Cases = Sequence[tuple[Seed, Sequence[str]]]
Prefers = Callable[[Sequence[tuple[Seed, str, str]]], list[str]]
"""(seed, first, second) cases to `first`, `second`, or empty where a judge is undecided."""


class Reference:
    """By comparison with the golden response: its final number, or the words in common."""

    def __init__(self, max_overlap: float) -> None:
        self._max_overlap = max_overlap

    def check(self, response: str, golden: str) -> str:
        """Name of the check that shows it to be worse; empty if none does."""
        return worse_than_golden(response, golden, self._max_overlap)

    def __call__(self, cases: Cases) -> list[list[str]]:
        """For every text, the name of the check that shows it to be worse; empty if none does."""
        return [[self.check(text, seed.golden) for text in texts] for seed, texts in cases]


class Vote:
    """More than half of some reward models score a response below the golden one.

    They must not be the one under test: where it errs, it would vote the error away.
    """

    def __init__(self, judges: Sequence[RewardEngine]) -> None:
        self._judges = judges

    def __call__(self, cases: Cases) -> list[list[str]]:
        """`vote` for every text that most judges put below the golden response."""
        asked = [(seed.prompt, [seed.golden, *texts]) for seed, texts in cases]
        votes = [raw_rewards(judge, asked) for judge in self._judges]
        return [
            [
                "vote" if self._outvoted([own[number] for own in votes], i) else ""
                for i in range(1, len(texts) + 1)
            ]
            for number, (_, texts) in enumerate(cases)
        ]

    def _outvoted(self, scores: list[list[float]], i: int) -> bool:
        # A response too long for a judge has no score there (NaN), and no vote against it.
        against = sum(not math.isnan(own[i]) and own[i] < own[0] for own in scores)
        return 2 * against > len(scores)


class Judge:
    """An LLM prefers the golden response, whichever of the two it reads first."""

    def __init__(self, prefers: Prefers) -> None:
        self._prefers = prefers

    def __call__(self, cases: Cases) -> list[list[str]]:
        """`judge` for every text that loses in both orders."""
        pairs = [(seed, text) for seed, texts in cases for text in texts]
        golden_first = self._prefers([(seed, seed.golden, text) for seed, text in pairs])
        golden_last = self._prefers([(seed, text, seed.golden) for seed, text in pairs])
        lost = iter(
            first == "first" and last == "second"
            for first, last in zip(golden_first, golden_last, strict=True)
        )
        return [["judge" if next(lost) else "" for _ in texts] for _, texts in cases]
