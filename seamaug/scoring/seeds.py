"""SEAM of every seed: hack sets from the estimators, scores from both models, in parts."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, fields
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from seamaug.config import ScoreConfig
from seamaug.errors import InputError
from seamaug.log import logger
from seamaug.records import Evidence, Misjudged, SetScores, to_table
from seamaug.run.executor import Executor
from seamaug.run.folder import RunFolder
from seamaug.run.parts import make_parts
from seamaug.run.progress import progress
from seamaug.scoring.contrast import WIDENED
from seamaug.scoring.hack_set import Estimator, HackSet
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import (
    Discrepancy,
    RewardScale,
    Spread,
    discrepancy,
    mean_logprobs,
    misjudgements,
    seam_interval,
    seam_weights,
    worst_responses,
)
from seamaug.scratch import scratch_array
from seamaug.seeds import Seeds


def stage_of(estimator: str) -> str:
    """Name of the stage that holds an estimator's scores."""
    return f"score-{estimator}"


class ScoredSet:
    """A stored row: a hack set with its scores."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.scores = SetScores(**{name: row[name] for name in SetScores.SCHEMA.names})
        made = HackSet(**{name: row[name] for name in HackSet.SCHEMA.names})
        self.note = made.note
        kept = self.scores.kept
        self.worse = [made.worse[i] for i in kept]
        self.kinds = [made.kinds[i] for i in kept]
        self.evidence = [Evidence(made.verifiers[i], made.verifier_scores[i]) for i in kept]
        self.counts = np.array([made.counts[i] for i in kept], np.float64)
        # A draw that no model could score says nothing either way: it is not among the draws.
        self.draws = made.draws and made.draws - int(sum(made.counts) - self.counts.sum())

    def discrepancy(self, scale: RewardScale) -> Discrepancy:
        """SEAM and its parts."""
        return discrepancy(self.scores, scale, self.counts, self.draws)

    def weights(self, weighting: str) -> np.ndarray:
        """What the misjudgement of each worse response adds to SEAM, shape (N,)."""
        return seam_weights(mean_logprobs(self.scores)[1:], weighting, self.counts, self.draws)

    def worst(self, scale: RewardScale) -> list[int]:
        """Positions of the worse responses, the largest contribution to SEAM (`prob`) first."""
        drawn = self.counts if self.draws else None
        return [int(i) for i in worst_responses(self.scores, scale, drawn)]

    def interval(self, scale: RewardScale, weighting: str, seed: int) -> tuple[float, float]:
        """95 % bootstrap interval of SEAM over the hack set."""
        return seam_interval(
            mean_logprobs(self.scores)[1:],
            misjudgements(self.scores, scale),
            weighting,
            self.counts,
            self.draws,
            seed,
        )


_PARTS = tuple(field.name for field in fields(Discrepancy))


class EstimatorScores:
    """Discrepancies by seed position under one estimator, as numbers; texts stay on disk."""

    def __init__(
        self, run: RunFolder, name: str, size: int, batch: int, scale: RewardScale
    ) -> None:
        """`size` is the number of seeds, `batch` that of a part."""
        self.name = name
        self._batch = batch
        self._part = lru_cache(maxsize=64)(
            lambda number: run.stored(stage_of(name), number).to_pylist()
        )
        self.errors: dict[int, str] = {}
        self.widened = 0
        self.unjudged: dict[int, str] = {}
        """Which samples of the policy were left out since their check failed, by position."""
        self._numbers_of = scratch_array((size, len(_PARTS)), np.float64)
        rows = (row for table in run.parts(stage_of(name)) for row in table.to_pylist())
        for position, row in zip(range(size), rows, strict=True):
            self._numbers_of[position] = self._numbers(position, ScoredSet(row), scale)

    def _numbers(self, position: int, row: ScoredSet, scale: RewardScale) -> tuple[float, ...]:
        """The parts of a discrepancy, in their order; NaN where there is none."""
        if row.scores.error:
            self.errors[position] = row.scores.error
            return (np.nan,) * len(_PARTS)
        if row.draws and row.note:
            self.unjudged[position] = row.note
        self.widened += row.note == WIDENED
        return astuple(row.discrepancy(scale))

    def __len__(self) -> int:
        return len(self._numbers_of)

    def item(self, position: int) -> Discrepancy | None:
        """The discrepancy of a seed; None where it could not be scored."""
        if position in self.errors:
            return None
        values = dict(zip(_PARTS, self._numbers_of[position].tolist(), strict=True))
        return Discrepancy(**{**values, "hack_set": int(values["hack_set"])})

    def part(self, name: str) -> np.ndarray:
        """A part of the discrepancies by position; NaN where a seed could not be scored."""
        return self._numbers_of[:, _PARTS.index(name)]

    def seam(self, weighting: str) -> np.ndarray:
        """SEAM by position; NaN where the seed could not be scored. Shape (seeds,)."""
        own = scratch_array((len(self),), np.float64)
        own[:] = self.part(f"seam_{weighting}")
        return own

    def row(self, position: int) -> ScoredSet:
        """The hack set of a seed with its scores."""
        return ScoredSet(self._part(position // self._batch)[position % self._batch])


class SeedScores:
    """Scores of all seeds under each estimator; the first one decides."""

    def __init__(self, run: RunFolder, size: int, config: ScoreConfig) -> None:
        self.scale = _scale(run, config.estimators[0])
        self.by_estimator = {
            name: EstimatorScores(run, name, size, config.batch_seeds, self.scale)
            for name in config.estimators
        }
        self.main = self.by_estimator[config.estimators[0]]

    def __len__(self) -> int:
        return len(self.main)

    @property
    def errors(self) -> dict[int, str]:
        """Why seeds could not be scored, by position."""
        return self.main.errors

    def seam(self, weighting: str) -> np.ndarray:
        """SEAM by position; NaN where the seed could not be scored. Shape (seeds,)."""
        return self.main.seam(weighting)

    def means(self, weighting: str) -> dict[str, float]:
        """Mean SEAM and hack rate of the seeds that could be scored."""
        parts = {"mean": f"seam_{weighting}", "hack_rate": "hack_rate"}
        columns = {name: self.main.part(part) for name, part in parts.items()}
        return {
            name: round(float(np.mean(values, where=~np.isnan(values))), 6)
            for name, values in columns.items()
        }

    def worse(self, position: int) -> list[tuple[str, Evidence]]:
        """Worse responses with the evidence, the largest contribution to SEAM (`prob`) first."""
        row = self.main.row(position)
        return [(row.worse[i], row.evidence[i]) for i in row.worst(self.scale)]

    def misjudged(self, position: int) -> Misjudged:
        """The worse response that contributes most to the SEAM of a seed that has one."""
        row = self.main.row(position)
        i = row.worst(self.scale)[0]
        rewards = self.scale.standardised(row.scores.rewards)
        logprobs = mean_logprobs(row.scores)
        return Misjudged(
            text=row.worse[i],
            margin=float(rewards[i + 1] - rewards[0]),
            rank=1 + int((rewards[1:] > rewards[i + 1]).sum()),
            among=len(row.worse),
            logprob=float(logprobs[i + 1]),
            golden_logprob=float(logprobs[0]),
        )


def _scale(run: RunFolder, estimator: str) -> RewardScale:
    """Over the responses of the first estimator: others do not change its results."""
    spreads: list[Spread] = []
    for table in run.parts(stage_of(estimator)):
        for rewards in table["rewards"].to_pylist():
            spreads += [Spread() for _ in range(len(rewards) - len(spreads))]
            for spread, values in zip(spreads, rewards, strict=False):
                spread.add(values)
    return RewardScale(tuple(s.mean for s in spreads), tuple(s.std for s in spreads))


class HasScorer(Protocol):
    """Models that score."""

    @property
    def scorer(self) -> Scorer:
        """Policy and reward models."""
        ...


MakeEstimator = Callable[[Any], Estimator]
"""From a worker's models to the estimator that asks them."""


def score_seeds(
    run: RunFolder,
    seeds: Seeds,
    estimators: Mapping[str, MakeEstimator],
    executor: Executor,
    config: ScoreConfig,
    *,
    quiet: bool = False,
) -> SeedScores:
    """Score every seed under each estimator; finished parts are read, not recomputed.

    Raises InputError if no seed could be scored.
    """
    batch = config.batch_seeds
    groups = [range(i, min(i + batch, len(seeds))) for i in range(0, len(seeds), batch)]
    for name, make_estimator in estimators.items():
        make = partial(executor.map, "score", start=partial(_scoring, seeds, make_estimator))
        with progress(stage_of(name), len(seeds), "seeds", quiet=quiet) as bar:
            make_parts(run, stage_of(name), groups, make, bar)
        _require_some(run, name, len(seeds))  # before the next one takes its time
    scores = SeedScores(run, len(seeds), config)
    for found in scores.by_estimator.values():
        _report(found, seeds, config)
    return scores


def _scoring(
    seeds: Seeds, make_estimator: MakeEstimator, models: HasScorer
) -> Callable[[range], pa.Table]:
    """What a worker does: scores of the seeds at given positions, as a part holds them."""
    estimator, scorer = make_estimator(models), models.scorer
    return lambda positions: _score_batch(positions, seeds, estimator, scorer)


def _score_batch(positions: range, seeds: Seeds, estimator: Estimator, scorer: Scorer) -> pa.Table:
    batch = list(seeds.at(positions))
    hack_sets = estimator.hack_sets(positions, batch)
    scores = scorer.score(
        [
            ResponseSet(seed.prompt, seed.golden, hack_set.worse)
            for seed, hack_set in zip(batch, hack_sets, strict=True)
        ]
    )
    for result, hack_set in zip(scores, hack_sets, strict=True):
        # That a sample of the policy holds nothing worse is a finding: its SEAM is 0.
        finding = hack_set.draws and not hack_set.worse
        if not result.error and not result.kept and not finding:
            result.error = hack_set.note or "no worse response fits the models"
            result.logprobs, result.tokens, result.rewards = [], [], []
    table = to_table(scores, SetScores.SCHEMA)
    made = to_table(hack_sets, HackSet.SCHEMA)
    for name in made.column_names:
        table = table.append_column(name, made[name])
    return table


def _require_some(run: RunFolder, estimator: str, total: int) -> None:
    parts = run.parts(stage_of(estimator))
    errors = (error for table in parts for error in table["error"].to_pylist())
    first = next(errors)
    if first and all(errors):
        raise InputError(
            f"none of the {total:,} seeds could be scored ({estimator}), the first one because: "
            f"{first}"
        )


def _report(scores: EstimatorScores, seeds: Seeds, config: ScoreConfig) -> None:
    total, scored = len(scores), len(scores) - len(scores.errors)
    for position, error in list(scores.errors.items())[:5]:
        logger.warning(f"{seeds[position].where}: not scored ({scores.name}): {error}")
    if scores.errors:
        logger.warning(f"{len(scores.errors):,} of {total:,} seeds were not scored ({scores.name})")
    for position, note in list(scores.unjudged.items())[:5]:
        logger.warning(f"{seeds[position].where}: {note}; scored by the others ({scores.name})")
    if scores.unjudged:
        logger.warning(
            f"{len(scores.unjudged):,} of {total:,} seeds have samples that were not judged"
        )
    if scores.widened:
        band = config.contrast
        logger.info(
            f"the cosine band [{band.low:g}, {band.high:g}) holds fewer than {band.at_least} "
            f"other prompts for {scores.widened:,} of {scored:,} seeds: for these it was widened "
            f"to the nearest prompts below {band.high:g}"
        )
