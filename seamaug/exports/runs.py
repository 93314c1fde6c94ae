"""Kept examples of one run or several, less what one run repeats of another.

Each run has kept what reduces the discrepancy around its own parents and repeats nothing of its
own. Runs on shards of the seeds, or with other generators, may still write nearly the same prompt:
of such, the one stands that reduced SEAM most.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

from seamaug.config import DuplicatesConfig
from seamaug.exports.example import Example, kept_examples, kept_rows
from seamaug.log import logger
from seamaug.verify.near import shingles
from seamaug.verify.signatures import Signatures, signatures_of


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
        self._standing = _standing(runs) if len(runs) > 1 else None

    def __call__(self) -> Iterator[Example]:
        """A reading of them from the start, a batch in memory."""
        for number, run in enumerate(self._runs):
            own = kept_examples(run.provenance, run.name)
            yield from own if self._standing is None else compress(own, self._standing[number])


def _standing(runs: Sequence[FinishedRun]) -> list[list[bool]]:
    """For each run, which of its kept examples stand.

    One that repeats some of an earlier run stands where it reduced SEAM by more than each of those
    that stand, and they fall; else it falls.
    """
    own = DuplicatesConfig(**runs[0].summary["config"]["verify"]["duplicates"])
    threshold = own.near or 1.0  # without near duplicates, those of the same words
    comparable = _comparable(runs)
    standing: list[list[bool]] = []
    reductions: list[list[float]] = []
    indexes: list[Signatures] = []
    for run in runs:
        stands, falls, index = [], [], Signatures(threshold)
        for row in kept_rows(run.provenance, ["prompt", "seam_before", "seam_after"]):
            signature = signatures_of([shingles(row["prompt"], own.shingle)])
            fall = row["seam_before"] - row["seam_after"] if comparable else 0.0
            repeated = [
                (earlier, number)
                for earlier, known in enumerate(indexes)
                for number in known.like(signature)[0]
                if standing[earlier][number]
            ]
            stands.append(all(fall > reductions[e][number] for e, number in repeated))
            if stands[-1]:
                for e, number in repeated:
                    standing[e][number] = False
            falls.append(fall)
            index.add(signature)
        standing.append(stands)
        reductions.append(falls)
        indexes.append(index)
    for run, own_standing in zip(runs, standing, strict=True):
        if fallen := own_standing.count(False):
            logger.info(
                f"{fallen:,} of {len(own_standing):,} examples of {run.name} are left out: their "
                "prompts are near duplicates of another run's"
            )
    return standing


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
