"""Which seeds are worth variants, and which are worth keeping."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seamaug.config import SelectConfig


def worst_first(seam: np.ndarray) -> np.ndarray:
    """Positions of scored seeds, highest SEAM first; ties in input order. NaN is left out."""
    order: np.ndarray = np.argsort(-seam, kind="stable")
    scored: np.ndarray = order[~np.isnan(seam[order])]
    return scored


def worst_share(seam: np.ndarray, share: float) -> np.ndarray:
    """Positions of the worst `share` of the scored seeds (rounded up), worst first."""
    order = worst_first(seam)
    return order[: math.ceil(share * len(order) - 1e-9)]


def worst_ids(seam: Mapping[str, float], ids: Sequence[str], share: float) -> set[str]:
    """Ids of the worst `share` of the scored seeds."""
    values = np.array([seam[seed_id] for seed_id in ids], dtype=float)
    return {ids[position] for position in worst_share(values, share)}


def select_parents(seam: np.ndarray, config: SelectConfig) -> np.ndarray:
    """Positions of the seeds to make variants of, worst first.

    A seed without any discrepancy has none to reduce and is left out.
    """
    order = worst_first(seam)[: config.top] if config.top else worst_share(seam, config.share)
    discrepant: np.ndarray = order[seam[order] > 0]
    return discrepant


def overlap(first: set[str], second: set[str]) -> float:
    """Share of the first selection that is in the second as well; NaN for an empty one."""
    return len(first & second) / len(first) if first else math.nan
