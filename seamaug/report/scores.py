"""Scores in short: quartiles, and how far the estimators agree on the worst."""

import math
from typing import Any

import numpy as np
from datasets import Dataset

from seamaug.selection import overlap, worst_share

WORST = 0.2
"""Share of the prompts on which estimators are compared."""
_PARTS = ("seam_prob", "seam_paper", "hack_rate", "plausibility", "hack_set")


def score_summary(table: Dataset) -> dict[str, Any]:
    """Of what `score` returned: `estimators`, `scored`, `failed`, and two mappings.

    `quartiles`: minimum, 25 %, median, 75 % and maximum by column. `agreement`: by each further
    estimator, the share of the first one's worst fifth that is among its own.
    """
    failed = sum(error is not None for error in table["error"])
    estimators = [n.removesuffix("_seam_prob") for n in table.column_names if n.endswith("_prob")]
    quartiles = {}
    for name in (f"{estimator}_{part}" for estimator in estimators for part in _PARTS):
        values = np.array([v for v in table[name] if v is not None], dtype=float)
        quartiles[name] = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    worst = {name: _worst(table, name) for name in estimators}
    return {
        "estimators": estimators,
        "scored": len(table) - failed,
        "failed": failed,
        "quartiles": quartiles,
        "agreement": {name: overlap(worst[estimators[0]], worst[name]) for name in estimators[1:]},
    }


def _worst(table: Dataset, estimator: str) -> set[str]:
    values = [math.nan if v is None else v for v in table[f"{estimator}_seam_prob"]]
    return {table["id"][int(i)] for i in worst_share(np.array(values, dtype=float), WORST)}
