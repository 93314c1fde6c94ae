"""A pilot: a few hundred candidates, really made, verified and scored, to tell a run's yield."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from seamaug.config import Config
from seamaug.pipeline import run_expand
from seamaug.records import KEPT
from seamaug.seeds import Seeds
from seamaug.seeds.store import taken
from seamaug.units import Spend
from seamaug.write.datasets import PROVENANCE, dataset_file

_SEEDS = 96
_PARENTS = 8  # at least: with fewer, the interval would say little
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Pilot:
    """What came of the candidates of a pilot."""

    candidates: int
    kept: int
    low: float
    high: float
    """95 % interval of the share that is kept: percentiles over resampled parents."""
    seconds: float
    """Per candidate, with all that is done to it."""

    @property
    def share(self) -> float:
        """Of the candidates that is kept."""
        return self.kept / self.candidates if self.candidates else 0.0


def run_pilot(config: Config, seeds: Seeds, size: int) -> Pilot:
    """Run the flow for about `size` candidates on a sample of the seeds, in a temporary folder.

    An LLM writes as in the run itself, and its replies are lost. Contrasts are drawn from the
    sample alone; what later variants of a parent yield less, being more alike, does not show.
    """
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.choice(len(seeds), min(_SEEDS, len(seeds)), replace=False))
    sample = Seeds(taken(seeds.table, chosen), len(chosen))
    with tempfile.TemporaryDirectory(prefix="seamaug-") as folder:
        own = _smaller(config, len(sample), len(seeds), size)
        summary = run_expand(own, sample, Path(folder), quiet=True)
        table = pq.read_table(dataset_file(Path(folder), PROVENANCE), columns=["parent", "verdict"])
    seconds = sum(summary["times"]["candidates"].values()) / max(table.num_rows, 1)
    return _measured(table.to_pylist(), seconds, rng)


def _smaller(config: Config, sampled: int, seeds: int, size: int) -> Config:
    """The run on a sample of the seeds, even over its parents, with about `size` candidates."""
    select = config.select
    share = select.top / seeds if select.top else select.share
    parents = min(max(_PARENTS, math.ceil(share * sampled)), sampled)
    each = math.ceil(size / parents)
    changes: dict[str, dict[str, Any]] = {
        "select": {"top": parents},
        "retrieve": {"index": "exact"},
        "generate": {"allocation": "uniform", "per_parent": each, "per_round": each},
    }
    sections = {name: getattr(config, name).model_copy(update=c) for name, c in changes.items()}
    # Quotas and caps are those of the run, and the pilot does not end by its number of examples.
    budget = config.budget if isinstance(config.budget, Spend) else max(config.budget, 2 * size)
    return config.model_copy(update={**sections, "budget": budget, "max_time": None, "track": None})


def _measured(rows: list[dict[str, str]], seconds: float, rng: np.random.Generator) -> Pilot:
    """Candidates of one parent share its fate, so it is parents that are resampled."""
    parents = sorted({row["parent"] for row in rows})
    places = [parents.index(row["parent"]) for row in rows]
    kept = np.array([row["verdict"] == KEPT for row in rows])
    if not rows:
        return Pilot(0, 0, 0.0, 1.0, seconds)
    made_by = np.bincount(places)
    kept_by = np.bincount(places, weights=kept)
    drawn = rng.integers(len(parents), size=(_RESAMPLES, len(parents)))
    shares = kept_by[drawn].sum(axis=1) / made_by[drawn].sum(axis=1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return Pilot(len(rows), int(kept.sum()), float(low), float(high), seconds)
