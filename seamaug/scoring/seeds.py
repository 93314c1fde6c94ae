"""SEAM of every seed: hack sets from the index, scores from both models, in resumable parts."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug.config import ScoreConfig
from seamaug.errors import InputError
from seamaug.log import logger
from seamaug.records import SetScores, to_table
from seamaug.retrieve.index import VectorIndex
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.scoring.contrast import Goldens, HackSet, contrast_set
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import Discrepancy, Spread, discrepancy, worst_responses
from seamaug.seeds import Seeds

STAGE = "score"


class SeedScores:
    """Discrepancies by seed position, read from the finished parts; texts stay on disk."""

    def __init__(self, run: RunFolder, size: int, batch: int) -> None:
        self._batch = batch
        self._part = lru_cache(maxsize=64)(
            lambda number: run.part(STAGE, number, _must_exist).to_pylist()
        )
        spread = Spread()
        for table in run.parts(STAGE):
            spread.add(table["rewards"].combine_chunks().flatten().to_numpy(zero_copy_only=False))
        self.mean, self.std = spread.mean, spread.std
        self.errors: dict[int, str] = {}
        self.widened = 0
        self.items: list[Discrepancy | None] = []
        for table in run.parts(STAGE):
            for row in table.to_pylist():
                self._take(row)
        assert len(self.items) == size, "a score part is missing rows"

    def _take(self, row: dict[str, Any]) -> None:
        scores = _scores_of(row)
        if scores.error:
            self.errors[len(self.items)] = scores.error
            self.items.append(None)
        else:
            self.items.append(discrepancy(scores, self.std))
            self.widened += row["widened"]

    def __len__(self) -> int:
        return len(self.items)

    def seam(self, weighting: str) -> np.ndarray:
        """SEAM by position; NaN where the seed could not be scored. Shape (seeds,)."""
        return np.array([np.nan if item is None else item.under(weighting) for item in self.items])

    def hack_set(self, position: int) -> list[int]:
        """Seed positions of the hack set, the largest contribution to SEAM (`prob`) first."""
        row = self._row(position)
        scores = _scores_of(row)
        kept = np.asarray(row["hack_set"], dtype=np.int64)[scores.kept]
        return [int(i) for i in kept[worst_responses(scores)]]

    def _row(self, position: int) -> dict[str, Any]:
        row: dict[str, Any] = self._part(position // self._batch)[position % self._batch]
        return row


def _must_exist() -> pa.Table:
    raise AssertionError("the score stage is not finished")


def _scores_of(row: dict[str, Any]) -> SetScores:
    return SetScores(**{name: row[name] for name in SetScores.SCHEMA.names})


def score_seeds(
    run: RunFolder,
    seeds: Seeds,
    index: VectorIndex,
    scorer: Scorer,
    config: ScoreConfig,
    *,
    quiet: bool = False,
) -> SeedScores:
    """Score every seed against its contrast hack set; finished parts are read, not recomputed.

    Raises InputError if no seed could be scored.
    """
    goldens = Goldens(seeds.table["golden"].to_pylist(), config.hack_set.generic_from)
    with progress(STAGE, len(seeds), "seeds", quiet=quiet) as bar:
        for number, start in enumerate(range(0, len(seeds), config.batch_seeds)):
            positions = range(start, min(start + config.batch_seeds, len(seeds)))
            resumed = run.has_part(STAGE, number)
            make = partial(_score_batch, positions, seeds, goldens, index, scorer, config)
            run.part(STAGE, number, make)
            bar.advance(len(positions), resumed=resumed)
    scores = SeedScores(run, len(seeds), config.batch_seeds)
    _report(scores, seeds, config)
    return scores


def _score_batch(
    positions: Sequence[int],
    seeds: Seeds,
    goldens: Goldens,
    index: VectorIndex,
    scorer: Scorer,
    config: ScoreConfig,
) -> pa.Table:
    hack_sets = _hack_sets(positions, goldens, index, config)
    # Seeds share most of their hack sets: fetch each text once.
    wanted = sorted({p for hack_set in hack_sets for p in hack_set.positions})
    taken = seeds.table["golden"].take(pa.array(wanted, pa.int64())).to_pylist()
    golden_of = dict(zip(wanted, taken, strict=True))
    sets = [
        ResponseSet(seed.prompt, seed.golden, [golden_of[p] for p in hack_set.positions])
        for seed, hack_set in zip(seeds.at(positions), hack_sets, strict=True)
    ]
    scores = scorer.score(sets)
    for result in scores:
        if not result.error and not result.kept:
            result.error = "no other prompt's response can serve as its hack set"
            result.logprobs, result.tokens, result.rewards = [], [], []
    table = to_table(scores, SetScores.SCHEMA)
    hack_column = pa.array([h.positions for h in hack_sets], pa.list_(pa.int64()))
    return table.append_column("hack_set", hack_column).append_column(
        "widened", pa.array([h.widened for h in hack_sets])
    )


def _hack_sets(
    positions: Sequence[int], goldens: Goldens, index: VectorIndex, config: ScoreConfig
) -> list[HackSet]:
    wanted = 2 * config.hack_set.k + 64  # room for prompts that are too near or share an answer
    cosines, neighbours = index.search(index.vectors[positions[0] : positions[-1] + 1], wanted)
    found = []
    for own, near, cosine in zip(positions, neighbours, cosines, strict=True):
        hack_set = contrast_set(own, near, cosine, goldens, config.hack_set)
        # Many prompts too near, or one answer for most: look farther, a few times as far each.
        reach = len(near)
        while hack_set.widened and len(hack_set.positions) < config.hack_set.k < reach < len(index):
            reach = min(8 * reach, len(index))
            far_cosines, far = index.search(index.vectors[own : own + 1], reach)
            hack_set = contrast_set(own, far[0], far_cosines[0], goldens, config.hack_set)
        found.append(hack_set)
    return found


def _report(scores: SeedScores, seeds: Seeds, config: ScoreConfig) -> None:
    scored = len(scores) - len(scores.errors)
    for position, error in list(scores.errors.items())[:5]:
        logger.warning(f"{seeds[position].where}: not scored: {error}")
    if scores.errors:
        logger.warning(f"{len(scores.errors):,} of {len(scores):,} seeds were not scored")
    if not scored:
        raise InputError(
            f"none of the {len(scores):,} seeds could be scored, the first one because: "
            f"{scores.errors[0]}"
        )
    if scores.widened:
        band = config.hack_set
        logger.info(
            f"the cosine band [{band.low:g}, {band.high:g}) holds fewer than {band.at_least} "
            f"other prompts for {scores.widened:,} of {scored:,} seeds: for these it was widened "
            f"to the nearest prompts below {band.high:g}"
        )


def score_table(seeds: Seeds, scores: SeedScores) -> pa.Table:
    """One row per seed: SEAM under both weightings and what it is made of.

    `error` says why where a seed has no scores.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "where", "prompt", "golden")}
    parts: list[dict[str, Any]] = []
    for start in range(0, len(seeds), 1000):
        positions = range(start, min(start + 1000, len(seeds)))
        for position, seed in zip(positions, seeds.at(positions), strict=True):
            columns["id"].append(seed.id)
            columns["where"].append(seed.where)
            columns["prompt"].append(seed.prompt)
            columns["golden"].append(seed.golden)
            parts.append(_described(position, seeds, scores))
    described = {name: [part[name] for part in parts] for name in parts[0]}
    return pa.table({**columns, **described})


_NO_SCORES: dict[str, Any] = dict.fromkeys(Discrepancy.__dataclass_fields__)


def _described(position: int, seeds: Seeds, scores: SeedScores) -> dict[str, Any]:
    item = scores.items[position]
    if item is None:
        return {**_NO_SCORES, "worst_response": None, "error": scores.errors[position]}
    worst = seeds[scores.hack_set(position)[0]].golden
    return {**asdict(item), "worst_response": worst, "error": None}
