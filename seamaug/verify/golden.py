"""Whether a golden response that an LLM wrote for a changed prompt has earned its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from seamaug.records import Evidence, Failure, Message, Seed
from seamaug.verify.worse import Cases, Findings, Prefers


@dataclass(frozen=True, slots=True)
class NewGolden:
    """A changed prompt with its new golden response, and what was golden and worse before."""

    prompt: list[Message]
    golden: str
    old_golden: str
    worse: Sequence[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of a case."""

    problem: str = ""
    """A reason to reject it; empty if there is none."""
    evidence: list[Evidence] = field(default_factory=list)
    """What vouches for each worse response."""
    error: str = ""
    """Why it could not be judged."""


class NewGoldenCheck:
    """A judge prefers the new response to the old one, whichever of the two it reads first, and
    each worse response of the old prompt is verified against the new golden response too, where
    these are used.

    An LLM is all that vouches for such a response; the old golden one, which a human vouched for,
    is the hardest rival there is for it.
    """

    def __init__(self, prefers: Prefers, verifier: Callable[[Cases], Findings] | None) -> None:
        """`verifier`: of the old prompt's worse responses; None where these are not used."""
        self._prefers = prefers
        self._verifier = verifier

    def __call__(self, cases: Sequence[NewGolden]) -> list[Judged]:
        """What is found of each case."""
        findings: Findings = [[] for _ in cases]
        if self._verifier:
            findings = self._verifier([(_seed(case), case.worse) for case in cases])
        judged = [self._judged(case, own) for case, own in zip(cases, findings, strict=True)]
        left = [i for i, own in enumerate(judged) if not own.problem and not own.error]
        items = [(_seed(cases[i]), cases[i].golden, cases[i].old_golden) for i in left]
        new_first = self._prefers(items)
        new_last = self._prefers([(seed, old, new) for seed, new, old in items])
        for i, first, last in zip(left, new_first, new_last, strict=True):
            if error := first.error or last.error:
                judged[i] = Judged(error=error)
            elif (first.better, last.better) != ("first", "second"):
                judged[i] = Judged("new golden response not verified")
        return judged

    @staticmethod
    def _judged(case: NewGolden, findings: Sequence[Evidence | Failure | None]) -> Judged:
        if case.golden.strip() == case.old_golden.strip():
            return Judged("new golden response is the old one")
        for found in findings:
            if isinstance(found, Failure):
                return Judged(error=found.error)
        evidence = [found for found in findings if isinstance(found, Evidence) and found.worse]
        if len(evidence) < len(findings):
            return Judged("a worse response may be right")
        return Judged(evidence=evidence)


def _seed(case: NewGolden) -> Seed:
    return Seed("", case.prompt, case.golden, [], "", "", "")
