"""Kept examples of one run or several, less what one run repeats of another.

Each run has kept what reduces the discrepancy around its own parents and repeats nothing of its
own. Runs on shards of the seeds, or with other generators, may still write nearly the same prompt:
of such, the one stands that reduced SEAM most. Where the original rows are there too, those of all
shards, none stands that repeats one of these.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seamaug.config import DuplicatesConfig
from seamaug.exports.example import Example, kept_examples, kept_rows
from seamaug.log import logger
from seamaug.records import Message
from seamaug.verify.near import shingles
from seamaug.verify.signatures import Signatures, equal_values, signatures_of

_BATCH = 1_000
"""Original rows that are compared at a time."""


class FinishedRun(NamedTuple):
    """A run whose examples are exported."""

    name: str
    """As the user named it."""
    provenance: Path
    summary: dict[str, Any]


class Kept:
    """The kept examples of finished runs, in the runs' order and that of their datasets."""

    def __init__(self, runs: Sequence[FinishedRun]) -> None:
        self._runs = runs
        self._marks: _Marks | None = None
        if len(runs) > 1:
            self._marks = _Marks(runs)
            self._tell("another run's")

    def __call__(self) -> Iterator[Example]:
        """A reading of them from the start, a batch in memory."""
        for number, run in enumerate(self._runs):
            own = kept_examples(run.provenance, run.name)
            yield from own if self._marks is None else compress(own, self._marks.standing[number])

    def leave_out_repeats_of(self, originals: Iterable[Example]) -> None:
        """Of several runs, those whose prompt is a near duplicate of an original row, too.

        A run alone has compared its own with its seeds; those of another shard it did not know.
        """
        if self._marks is not None:
            self._marks.compare_with(originals)
            self._tell("an original row's")

    def _tell(self, whose: str) -> None:
        assert self._marks is not None
        fallen = self._marks.fallen()
        for run, own, standing in zip(self._runs, fallen, self._marks.standing, strict=True):
            if own:
                logger.info(
                    f"{own:,} of {len(standing):,} examples of {run.name} are left out: their "
                    f"prompts are near duplicates of {whose}"
                )


class _Marks:
    """Which kept examples of several runs stand."""

    def __init__(self, runs: Sequence[FinishedRun]) -> None:
        """One that repeats some of an earlier run stands where it reduced SEAM by more than each of
        those that stand, and they fall; else it falls."""
        own = DuplicatesConfig(**runs[0].summary["config"]["verify"]["duplicates"])
        self._threshold = own.near or 1.0  # without near duplicates, those of the same words
        self._shingle = own.shingle
        self.standing: list[list[bool]] = []
        self._indexes: list[Signatures] = []
        self._parents: list[list[str]] = []
        self._told = [0] * len(runs)
        reductions: list[list[float]] = []
        comparable = _comparable(runs)
        for run in runs:
            index, parents, falls = Signatures(self._threshold), [], []
            for row in kept_rows(run.provenance, ["parent", "prompt", "seam_before", "seam_after"]):
                fall = row["seam_before"] - row["seam_after"] if comparable else 0.0
                index.add(self._signatures([row["prompt"]]))
                parents.append(row["parent"])
                falls.append(fall)
            self.standing.append([True] * len(index))
            self._indexes.append(index)
            self._parents.append(parents)
            reductions.append(falls)
            self._compare_with_earlier(reductions)

    def fallen(self) -> list[int]:
        """How many examples of each run have fallen since this was asked last."""
        counts = [own.count(False) for own in self.standing]
        new = [count - told for count, told in zip(counts, self._told, strict=True)]
        self._told = counts
        return new

    def _compare_with_earlier(self, reductions: Sequence[Sequence[float]]) -> None:
        """Those of the latest run."""
        *earlier, latest = self._indexes
        for number, fall in enumerate(reductions[-1]):
            repeated = [
                (run, other)
                for run, known in enumerate(earlier)
                for other in known.like(latest.signatures(number))[0]
                if self.standing[run][other]
            ]
            stands = all(fall > reductions[run][other] for run, other in repeated)
            self.standing[-1][number] = stands
            for run, other in repeated if stands else ():
                self.standing[run][other] = False

    def compare_with(self, originals: Iterable[Example]) -> None:
        """Those fall that repeat an original row which their parent does not repeat: a variant is
        like its parent on purpose, and so like what this is like."""
        parents = {own for run in self._parents for own in run}
        known: dict[str, np.ndarray] = {}
        near: list[tuple[int, int, np.ndarray]] = []
        rows = iter(originals)
        while batch := list(islice(rows, _BATCH)):
            signatures = self._signatures([row.prompt for row in batch])
            for row, own in zip(batch, signatures, strict=True):
                if row.parent in parents:
                    known.setdefault(row.parent, own)
            for run, index in enumerate(self._indexes):
                for own, numbers in zip(signatures, index.like(signatures), strict=True):
                    near += [(run, number, own) for number in numbers]
        for run, number, own in near:
            parent = known.get(self._parents[run][number])
            if parent is None or np.count_nonzero(parent == own) < equal_values(self._threshold):
                self.standing[run][number] = False

    def _signatures(self, prompts: Sequence[Sequence[Message]]) -> np.ndarray:
        return signatures_of([shingles(prompt, self._shingle) for prompt in prompts])


def _comparable(runs: Sequence[FinishedRun]) -> bool:
    """Whether SEAM means the same in all of them."""
    measures = [
        (
            run.summary["weighting"],
            *(run.summary["models"][role]["fingerprint"] for role in ("policy", "reward")),
        )
        for run in runs
    ]
    if all(measure == measures[0] for measure in measures):
        return True
    logger.warning(
        "the runs measured SEAM with other models or another weighting, which cannot be compared: "
        "of near duplicates the one of the run named first is taken"
    )
    return False
