"""Figures with their bootstrap intervals over prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

_RESAMPLES = 1000
_QUANTILES = (0, 0.25, 0.5, 0.75, 1)

Combine = Callable[[np.ndarray], np.ndarray]
"""Sums over prompts (..., columns) to values (...)."""


@dataclass(frozen=True)
class Figure:
    """One number of a diagnosis with its 95 % interval, or why it is not there."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    prompts: int = 0
    """That it was computed from."""
    quantiles: tuple[float, ...] | None = None
    """Minimum, quartiles and maximum over the prompts, where each has a value of its own."""
    missing: str = ""
    """Why there is no value, and how to get one."""


@dataclass(frozen=True)
class Statistic:
    """What a figure is computed from: sums over prompts, so that prompts can be resampled."""

    columns: np.ndarray
    """What each prompt adds to the sums: (prompts, columns); 0 where it says nothing."""
    combine: Combine
    known: np.ndarray
    """Which prompts say something, (prompts,)."""
    values: np.ndarray | None = None
    """Each prompt's own value, NaN where it has none; None where only all together have one."""


def mean_of(values: np.ndarray) -> Statistic:
    """Mean over the prompts that have a value, (prompts,); NaN is none."""
    known = ~np.isnan(values)
    columns = np.stack([np.where(known, values, 0.0), known.astype(float)], axis=1)
    return Statistic(columns, lambda sums: _divided(sums[..., 0], sums[..., 1]), known, values)


def share_of(holds: np.ndarray) -> Statistic:
    """Share of the prompts of which something holds, (prompts,); no prompt has a share itself."""
    return replace(mean_of(holds.astype(float)), values=None)


def mean_in_units(values: np.ndarray, rewards: np.ndarray, power: int) -> Statistic:
    """Mean over prompts of values in standard deviations of the rewards, to a power.

    values: (prompts,), NaN for none. rewards: standardised, (prompts, samples), or all 0 where they
    are one number. The standard deviation is taken anew in each resample: it is as uncertain as
    the values.
    """
    mean = mean_of(values)
    moments = [np.full(len(rewards), rewards.shape[1]), rewards.sum(1), (rewards**2).sum(1)]
    columns = np.concatenate([mean.columns, np.stack(moments, axis=1)], axis=1)

    def combine(sums: np.ndarray) -> np.ndarray:
        count, first, second = sums[..., 2], sums[..., 3], sums[..., 4]
        variance = np.maximum(second - first**2 / count, 0.0) / (count - 1)
        return _divided(mean.combine(sums), variance ** (power / 2), empty=0.0)

    return Statistic(columns, combine, mean.known, values)


def together(parts: Sequence[Statistic], combine: Callable[..., np.ndarray]) -> Statistic:
    """A figure of several: `combine` gets the value of each, from the same resample."""
    ends = np.cumsum([part.columns.shape[1] for part in parts])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        split = np.split(sums, ends[:-1], axis=-1)
        return combine(*(part.combine(own) for part, own in zip(parts, split, strict=True)))

    columns = np.concatenate([part.columns for part in parts], axis=1)
    fewest = min((p.known for p in parts if p.known.any()), key=np.sum, default=parts[0].known)
    return Statistic(columns, of_sums, fewest)


class Bootstrap:
    """Resamples of the prompts, the same ones for every figure, so that figures can be compared."""

    def __init__(self, prompts: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._times = rng.multinomial(prompts, np.full(prompts, 1 / prompts), _RESAMPLES)

    def figure(self, statistic: Statistic, missing: str) -> Figure:
        """Value and 95 % percentile interval; `missing` where no prompt says anything."""
        known = int(statistic.known.sum())
        value = float(statistic.combine(statistic.columns.sum(axis=0)))
        if not known or np.isnan(value):
            return Figure(missing=missing)
        drawn = statistic.combine(self._times @ statistic.columns)
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        own = statistic.values
        quantiles = None
        if own is not None:
            quantiles = tuple(float(q) for q in np.nanquantile(own, _QUANTILES))
        return Figure(value, float(low), float(high), known, quantiles)


def _divided(above: np.ndarray, below: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Quotient; `empty` where there is nothing to divide by."""
    some = np.asarray(below) > 0
    quotient: np.ndarray = np.where(some, above / np.where(some, below, 1.0), empty)
    return quotient
