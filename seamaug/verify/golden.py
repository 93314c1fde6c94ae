"""Whether a golden response that an LLM wrote for a changed prompt has earned its place."""

from collections.abc import Sequence
from dataclasses import dataclass

from seamaug.records import Message, Seed
from seamaug.verify.worse import Prefers, Reference


@dataclass(frozen=True, slots=True)
class NewGolden:
    """A changed prompt with its new golden response, and what was golden and worse before."""

    prompt: list[Message]
    golden: str
    old_golden: str
    worse: Sequence[str]


class NewGoldenCheck:
    """A judge prefers the new response to the old one, whichever of the two it reads first, and
    each worse response of the old prompt is worse than the new golden response too.

    An LLM is all that vouches for such a response; the old golden one, which a human vouched for,
    is the hardest rival there is for it.
    """

    def __init__(self, prefers: Prefers, max_overlap: float) -> None:
        self._prefers = prefers
        self._reference = Reference(max_overlap)

    def __call__(self, cases: Sequence[NewGolden]) -> list[str]:
        """For each case a reason to reject it; empty if there is none."""
        problems = [self._problem(case) for case in cases]
        left = [i for i, problem in enumerate(problems) if not problem]
        items = [(_seed(cases[i]), cases[i].golden, cases[i].old_golden) for i in left]
        new_first = self._prefers(items)
        new_last = self._prefers([(seed, old, new) for seed, new, old in items])
        for i, first, last in zip(left, new_first, new_last, strict=True):
            if (first, last) != ("first", "second"):
                problems[i] = "new golden response not verified"
        return problems

    def _problem(self, case: NewGolden) -> str:
        if case.golden.strip() == case.old_golden.strip():
            return "new golden response is the old one"
        checks = (self._reference.is_worse(text, case.golden) for text in case.worse)
        return "" if all(checks) else "a worse response may be right"


def _seed(case: NewGolden) -> Seed:
    return Seed("", case.prompt, case.golden, [], "", "", "")
