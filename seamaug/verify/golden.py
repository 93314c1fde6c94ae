"""Whether a golden response that an LLM wrote for a changed prompt has earned its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seamaug.records import Evidence, Message, Seed
from seamaug.verify.worse import Cases, Findings, Prefers


@dataclass(frozen=True, slots=True)
class NewGolden:
    """A changed prompt with its new golden response, and what was golden and worse before."""

    prompt: list[Message]
    golden: str
    old_golden: str
    worse: Sequence[str]


Judged = tuple[str, list[Evidence]]
"""A reason to reject a case, empty if there is none; and what vouches for each worse response."""


class NewGoldenCheck:
    """A judge prefers the new response to the old one, whichever of the two it reads first, and
    each worse response of the old prompt is verified against the new golden response too.

    An LLM is all that vouches for such a response; the old golden one, which a human vouched for,
    is the hardest rival there is for it.
    """

    def __init__(self, prefers: Prefers, verifier: Callable[[Cases], Findings]) -> None:
        self._prefers = prefers
        self._verifier = verifier

    def __call__(self, cases: Sequence[NewGolden]) -> list[Judged]:
        """What is found of each case."""
        findings = self._verifier([(_seed(case), case.worse) for case in cases])
        judged = [self._judged(case, own) for case, own in zip(cases, findings, strict=True)]
        left = [i for i, (problem, _) in enumerate(judged) if not problem]
        items = [(_seed(cases[i]), cases[i].golden, cases[i].old_golden) for i in left]
        new_first = self._prefers(items)
        new_last = self._prefers([(seed, old, new) for seed, new, old in items])
        for i, first, last in zip(left, new_first, new_last, strict=True):
            if (first, last) != ("first", "second"):
                judged[i] = "new golden response not verified", []
        return judged

    @staticmethod
    def _judged(case: NewGolden, findings: Sequence[Evidence | None]) -> Judged:
        if case.golden.strip() == case.old_golden.strip():
            return "new golden response is the old one", []
        evidence = [found for found in findings if found]
        if len(evidence) < len(findings):
            return "a worse response may be right", []
        return "", evidence


def _seed(case: NewGolden) -> Seed:
    return Seed("", case.prompt, case.golden, [], "", "", "")
