"""What a judge makes of a policy's responses: how far each falls short of the golden one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from seamaug.records import Evidence, Failure, Seed
from seamaug.verify.worse import Verifier

GOLDEN = "the golden response itself"
FAILED = "none: the check failed"
"""In the place of a verifier's name."""


@dataclass(slots=True)
class Judged:
    """Verdicts on the responses to one prompt, in their order."""

    shortfalls: list[float | None]
    """In the verifier's unit, or 1 (worse) and 0 if it says no more; None where none can tell."""
    verifiers: list[str]
    """What told; empty where none could, FAILED where one should have."""
    worse: list[bool]
    failures: list[str]
    """Why responses could not be judged that a check should have judged."""


def unknown(count: int) -> Judged:
    """No verdict on so many responses."""
    return Judged([None] * count, [""] * count, [False] * count, [])


def judge(
    verifier: Verifier, cases: Sequence[tuple[Seed, Sequence[str]]], graded: Collection[str]
) -> list[Judged]:
    """Verdicts on the responses of each case; `graded` are the verifiers whose score says how far.

    Graded ones are a user's function and reward models, whose scores of two responses can be
    compared; the others only say whether a response is worse.
    """
    findings = verifier.findings(cases)
    return [
        _judged([_told(text, seed, found, graded) for text, found in zip(texts, own, strict=True)])
        for (seed, texts), own in zip(cases, findings, strict=True)
    ]


def _told(
    text: str, seed: Seed, found: Evidence | Failure | None, graded: Collection[str]
) -> tuple[float | None, str, bool, str]:
    if isinstance(found, Failure):
        return None, FAILED, False, found.error
    if found is None:  # also for the golden response itself, which is as good as it is
        same = bool(seed.golden.strip()) and text.strip() == seed.golden.strip()
        return (0.0, GOLDEN, False, "") if same else (None, "", False, "")
    if found.verifier not in graded:
        return float(found.worse), found.verifier, found.worse, ""
    known = found.score is not None and np.isfinite(found.score)
    return (found.score, found.verifier, found.worse, "") if known else (None, "", False, "")


def _judged(told: Sequence[tuple[float | None, str, bool, str]]) -> Judged:
    return Judged(
        [shortfall for shortfall, _, _, _ in told],
        [name for _, name, _, _ in told],
        [worse for _, _, worse, _ in told],
        [failure for _, _, _, failure in told if failure],
    )


class Verdicts:
    """Verdicts on several prompts as arrays: (prompts, samples)."""

    def __init__(self, shortfalls: np.ndarray, verifiers: np.ndarray, worse: np.ndarray) -> None:
        """`shortfalls`: NaN where nothing is known; `verifiers`: their names."""
        self.shortfalls, self.verifiers, self.worse = shortfalls, verifiers, worse

    def told(self, prompt: int) -> bool:
        """Whether anything is known of a response to this prompt."""
        return bool(~np.isnan(self.shortfalls[prompt]).all())

    def judged(self, prompt: int) -> int:
        """Responses to this prompt but those that a check should have judged and failed to."""
        return int((self.verifiers[prompt] != FAILED).sum())

    def better(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """1 where sample i is the better one of a pair, −1 where j is, 0 where that is not known or
        neither is: (prompts, pairs)."""
        return _better(
            self.shortfalls[:, i],
            self.shortfalls[:, j],
            _comparable(self.verifiers[:, i], self.verifiers[:, j]),
        )

    def better_than(self, others: "Verdicts") -> np.ndarray:
        """The same for each pair of a sample with one of the others: (prompts, samples, others)."""
        return _better(
            self.shortfalls[:, :, None],
            others.shortfalls[:, None, :],
            _comparable(self.verifiers[:, :, None], others.verifiers[:, None, :]),
        )


def _better(first: np.ndarray, second: np.ndarray, comparable: np.ndarray) -> np.ndarray:
    sign: np.ndarray = np.sign(np.nan_to_num(second - first))
    return np.where(comparable, sign, 0.0)


def _comparable(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Verdicts of one verifier are; the golden response falls short by nothing, whoever judges."""
    same: np.ndarray = (first == second) | (first == GOLDEN) | (second == GOLDEN)
    return same
