"""Kept examples of one run or several, less what one run repeats of another.

Each run has kept what reduces the discrepancy around its own parents and repeats nothing of its
own. Runs on shards of the seeds, or with other generators, may still write nearly the same prompt:
of such, the one stands that reduced SEAM most. Where the original rows are there too, those of all
shards, none stands that repeats one of these, unless its parent does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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

    def __init__(
        self, runs: Sequence[FinishedRun], originals: Callable[[], Iterable[Example]] | None = None
    ) -> None:
        """`originals`: a reading of the rows that they are merged with."""
        self._runs = runs
        self._standing = _standing(runs, originals) if len(runs) > 1 else None

    def __call__(self) -> Iterator[Example]:
        """A reading of them from the start, a batch in memory."""
        for number, run in enumerate(self._runs):
            own = kept_examples(run.provenance, run.name)
            yield from own if self._standing is None else compress(own, self._standing[number])


def _standing(
    runs: Sequence[FinishedRun], originals: Callable[[], Iterable[Example]] | None
) -> list[list[bool]]:
    """For each run, which of its kept examples stand."""
    own = DuplicatesConfig(**runs[0].summary["config"]["verify"]["duplicates"])
    near = _Near(own.near or 1.0, own.shingle)  # without near duplicates, those of the same words
    comparable = _comparable(runs)
    known = [_KnownRun(run, near, comparable) for run in runs]
    if originals is not None:
        _compare_with_originals(known, originals, near)
        _tell(known, "an original row's")
    for number, run in enumerate(known):
        _compare_with_earlier(known[:number], run)
    _tell(known, "another run's")
    return [run.standing for run in known]


class _Near(NamedTuple):
    """What makes two prompts near duplicates, as `verify.duplicates` says."""

    threshold: float
    shingle: int

    def signatures(self, prompts: Iterable[Sequence[Message]]) -> np.ndarray:
        return signatures_of([shingles(prompt, self.shingle) for prompt in prompts])

    def alike(self, one: np.ndarray, other: np.ndarray) -> bool:
        return int(np.count_nonzero(one == other)) >= equal_values(self.threshold)


class _KnownRun:
    """Of each kept example of a run its prompt's signature, its parent, and whether it stands."""

    def __init__(self, run: FinishedRun, near: _Near, comparable: bool) -> None:
        self.name = run.name
        self.prompts = Signatures(near.threshold)
        self.parents: list[str] = []
        self.reductions: list[float] = []
        for row in kept_rows(run.provenance, ["parent", "prompt", "seam_before", "seam_after"]):
            self.prompts.add(near.signatures([row["prompt"]]))
            self.parents.append(row["parent"])
            self.reductions.append(row["seam_before"] - row["seam_after"] if comparable else 0.0)
        self.standing = [True] * len(self.parents)
        self.told = 0


def _compare_with_earlier(earlier: Sequence[_KnownRun], latest: _KnownRun) -> None:
    """One that repeats some of an earlier run stands where it reduced SEAM by more than each of
    those that stand, and they fall; else it falls."""
    for number, reduction in enumerate(latest.reductions):
        if not latest.standing[number]:
            continue
        repeated = [
            (run, other)
            for run in earlier
            for other in run.prompts.like(latest.prompts.signatures(number))[0]
            if run.standing[other]
        ]
        stands = all(reduction > run.reductions[other] for run, other in repeated)
        latest.standing[number] = stands
        for run, other in repeated if stands else ():
            run.standing[other] = False


def _compare_with_originals(
    runs: Sequence[_KnownRun], originals: Callable[[], Iterable[Example]], near: _Near
) -> None:
    """Those fall that repeat an original row which their parent does not repeat: a variant is like
    its parent on purpose, and so like what this is like."""
    parents = {parent for run in runs for parent in run.parents}
    found = {
        row.parent: near.signatures([row.prompt])[0] for row in originals() if row.parent in parents
    }
    if missing := len(parents - found.keys()):
        logger.warning(
            f"{missing:,} of {len(parents):,} seeds that the runs made variants of are not among "
            "the original rows: what is like such a seed is taken for a repeat of it. Read the "
            "same rows, with the same columns, as the runs did"
        )
    rows = iter(originals())
    while batch := list(islice(rows, _BATCH)):
        signatures = near.signatures(row.prompt for row in batch)
        for run in runs:
            for own, numbers in zip(signatures, run.prompts.like(signatures), strict=True):
                for number in numbers:
                    parent = found.get(run.parents[number])
                    if parent is None or not near.alike(parent, own):
                        run.standing[number] = False


def _tell(runs: Sequence[_KnownRun], whose: str) -> None:
    """How many have fallen since this was told last."""
    for run in runs:
        fallen = run.standing.count(False)
        if fallen > run.told:
            logger.info(
                f"{fallen - run.told:,} of {len(run.standing):,} examples of {run.name} are left "
                f"out: their prompts are near duplicates of {whose}"
            )
        run.told = fallen


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
