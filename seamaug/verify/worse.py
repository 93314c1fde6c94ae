"""What shows responses to be worse: comparisons, a function of the user, a vote, a judge.

A *check* says for every text whether it is worse, or None where it cannot tell.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seamaug.config import WorseConfig
from seamaug.models.engines import Preference
from seamaug.models.ensemble import Comparison, Ensemble, strength
from seamaug.records import Evidence, Failure, Seed
from seamaug.verify.function import UserFunction
from seamaug.verify.response import by_match, by_number, by_overlap, passes_for_right

Cases = Sequence[tuple[Seed, Sequence[str]]]


Findings = Sequence[Sequence[Evidence | Failure | None]]
"""For every text of every case."""
Check = Callable[[Cases], Findings]
Prefers = Callable[[Sequence[tuple[Seed, str, str]]], list[Preference]]
"""(seed, first, second) cases to what a judge prefers."""


class Verifier:
    """Several checks in order: the first one that can tell decides."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks

    def __call__(self, cases: Cases) -> list[list[Evidence | None]]:
        """For every text the evidence that it is worse; None if there is none.

        An empty text, and the golden response itself, are never worse.
        """
        return [
            [found if isinstance(found, Evidence) and found.worse else None for found in own]
            for own in self.findings(cases)
        ]

    def findings(self, cases: Cases) -> Findings:
        """For every text what the checks found: also that it is not worse, or why none could tell.

        None for an empty text, for the golden response itself, and where no check can tell.
        """
        found: list[dict[str, Evidence | Failure]] = [{} for _ in cases]
        for check in self._checks:
            left = [
                (seed, [t for t in dict.fromkeys(texts) if _is_open(t, seed, told)])
                for (seed, texts), told in zip(cases, found, strict=True)
            ]
            for told, (_, texts), findings in zip(found, left, check(left), strict=True):
                told |= {t: f for t, f in zip(texts, findings, strict=True) if f is not None}
        return [
            [told.get(text) for text in texts]
            for (_, texts), told in zip(cases, found, strict=True)
        ]


def _is_open(text: str, seed: Seed, told: Mapping[str, Evidence | Failure]) -> bool:
    """Whether a check is still to be asked about a text."""
    decided = isinstance(told.get(text), Evidence)
    return not decided and bool(text.strip()) and text.strip() != seed.golden.strip()


class Reference(Verifier):
    """By comparison with the golden response: its final number, or else the words in common."""

    def __init__(self, max_overlap: float) -> None:
        self._max_overlap = max_overlap
        super().__init__([compared(by_number), compared(self._overlap)])

    def _overlap(self, response: str, golden: str) -> Evidence:
        return by_overlap(response, golden, self._max_overlap)

    def is_worse(self, response: str, golden: str) -> bool:
        """The same for one response, without a score and therefore faster."""
        return not passes_for_right(response, golden, self._max_overlap)


def compared(compare: Callable[[str, str], Evidence | None]) -> Check:
    """A check that compares each response with its golden one."""

    def check(cases: Cases) -> Findings:
        return [[compare(text, seed.golden) for text in texts] for seed, texts in cases]

    return check


class Vote:
    """An ensemble of reward models: they must agree that the golden response is better.

    With mu and sigma of the pair's preference strength, mu less `spread` · sigma must exceed
    `margin`. None of them may be the one under test: where it errs, it would vote the error away.
    """

    def __init__(self, judges: Ensemble, margin: float, spread: float) -> None:
        self._judges = judges
        self._margin = margin
        self._spread = spread

    def __call__(self, cases: Cases) -> Findings:
        """With mu as the score; None where no judge can read the two."""
        margins = self._judges.margins(
            [Comparison(seed.prompt, seed.golden, texts) for seed, texts in cases]
        )
        return [self._told(own) for own in margins]

    def _told(self, margins: np.ndarray) -> list[Evidence | None]:
        found = strength(margins)
        return [
            Evidence("vote", float(mu), worse=bool(worse)) if votes else None
            for mu, worse, votes in zip(
                found.mu, found.agrees(self._spread, self._margin), found.votes, strict=True
            )
        ]


class Judge:
    """An LLM prefers the golden response, whichever of the two it reads first."""

    def __init__(self, prefers: Prefers) -> None:
        self._prefers = prefers

    def __call__(self, cases: Cases) -> Findings:
        """The share of the two orders that each text loses; a tie is no proof.

        Always tells, but where it was not judged in both orders.
        """
        pairs = [(seed, text) for seed, texts in cases for text in texts]
        golden_first = self._prefers([(seed, seed.golden, text) for seed, text in pairs])
        golden_last = self._prefers([(seed, text, seed.golden) for seed, text in pairs])
        orders = zip(golden_first, golden_last, strict=True)
        return [[self._told(*next(orders)) for _ in texts] for _, texts in cases]

    @staticmethod
    def _told(golden_first: Preference, golden_last: Preference) -> Evidence | Failure:
        if error := golden_first.error or golden_last.error:
            return Failure(error)
        lost = (golden_first.better == "first") + (golden_last.better == "second")
        return Evidence("judge", lost / 2, worse=lost == 2)


def make_verifier(
    config: WorseConfig,
    max_overlap: float,
    load_judges: Callable[[], Ensemble],
    prefers: Prefers | None,
) -> Verifier:
    """The configured checks in order; `load_judges` is asked only where there is a vote."""
    return Verifier([_check(name, config, max_overlap, load_judges, prefers) for name in config.by])


def _check(
    name: str,
    config: WorseConfig,
    max_overlap: float,
    load_judges: Callable[[], Ensemble],
    prefers: Prefers | None,
) -> Check:
    if name == "number":
        return compared(by_number)
    if name == "overlap":
        return compared(lambda response, golden: by_overlap(response, golden, max_overlap))
    if name == "match":
        pattern = None if config.answer is None else re.compile(config.answer)
        return compared(lambda response, golden: by_match(response, golden, pattern))
    if name == "function":
        assert config.function is not None, "the config sees to it"
        return UserFunction(config.function)
    if name == "vote":
        return Vote(load_judges(), config.margin, config.spread)
    assert prefers is not None, "the config sees to it that there is a generator"
    return Judge(prefers)
