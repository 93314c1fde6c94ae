"""The hack set X of a prompt: responses known to be worse than its golden one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import pyarrow as pa

from seamaug.records import Evidence, Failure, Seed


@dataclass(slots=True)
class HackSet:
    """Worse responses of a prompt, over which SEAM sums; the lists run in parallel."""

    worse: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """What made each: an aspect, a perturbation, or the prompt that it answers."""
    verifiers: list[str] = field(default_factory=list)
    """What vouches for each being worse."""
    verifier_scores: list[float | None] = field(default_factory=list)
    """With what score, in the verifier's unit; None where it holds by construction."""
    counts: list[int] = field(default_factory=list)
    """How often each was drawn; 1 where the set is no sample."""
    draws: int = 0
    """Samples drawn from the policy, worse or not, less those that could not be judged; 0 where the
    set is no sample of it."""
    note: str = ""
    """What was unusual, such as a widened band; or, for an empty set, why it is."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("worse", pa.list_(pa.string())),
            ("kinds", pa.list_(pa.string())),
            ("verifiers", pa.list_(pa.string())),
            ("verifier_scores", pa.list_(pa.float64())),
            ("counts", pa.list_(pa.int32())),
            ("draws", pa.int32()),
            ("note", pa.string()),
        ]
    )

    def add(self, text: str, kind: str, evidence: Evidence, count: int = 1) -> None:
        """Append one worse response."""
        self.worse.append(text)
        self.kinds.append(kind)
        self.verifiers.append(evidence.verifier)
        self.verifier_scores.append(evidence.score)
        self.counts.append(count)


class Estimator(Protocol):
    """Builds hack sets in one of the ways that `score.estimators` names."""

    name: str

    def hack_sets(self, positions: range, seeds: Sequence[Seed]) -> list[HackSet]:
        """One set per seed; `positions` are those of `seeds` among all seeds."""
        ...


class Verifier(Protocol):
    """Shows responses to be worse than golden ones."""

    def __call__(self, cases: Sequence[tuple[Seed, Sequence[str]]]) -> list[list[Evidence | None]]:
        """For every text the evidence that it is worse; None if there is none."""
        ...


class Finder(Protocol):
    """Finds out whether responses are worse than golden ones."""

    def __call__(
        self, cases: Sequence[tuple[Seed, Sequence[str]]]
    ) -> Sequence[Sequence[Evidence | Failure | None]]:
        """For every text whether it is worse, or why that is not known; None where nothing tells
        that it is."""
        ...
