"""From the figures of the seeds to means with intervals, and their table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from keeping.arms import NONE, RANDOM
from keeping.prediction import PREDICTORS

MEASURES = (
    "seam",
    "seam_in_spreads",
    "seam_both",
    "logprob_golden",
    "hack_rate",
    "off_policy",
    "on_policy",
    "variance",
)
TARGETS = ("held_out", "neighbourhood")
"""What the actual fall of SEAM is measured on."""

Interval = dict[str, float | None]


def interval(values: Sequence[float]) -> Interval:
    """Mean and its 95 % t interval over seeds; no bounds of a single seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def ratio(values: Sequence[float], to: Sequence[float]) -> Interval:
    """Of the sums, with its 95 % percentile bootstrap over seeds; no bounds of a single seed."""
    pairs = np.array([values, to])
    mean = float(pairs[0].sum() / pairs[1].sum())
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    drawn = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    above, below = pairs[:, drawn].sum(axis=2)
    low, high = np.quantile(above / below, [0.025, 0.975])
    return {"mean": mean, "low": float(low), "high": float(high)}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By arm and measure: mean and difference to random; and how much SEAM the arm removes."""
    found: dict[str, Any] = {}
    for arm in runs[0]["arms"]:
        own = [run["arms"][arm] for run in runs]
        random = [run["arms"][RANDOM] for run in runs]
        found[arm] = {
            name: interval([each[name] for each in own])
            | {
                "to_random": interval(
                    [a[name] - b[name] for a, b in zip(own, random, strict=True) if name in b]
                )
            }
            for name in MEASURES
            if name in own[0]
        }
        for name, removed in (("seam", "removed"), ("seam_in_spreads", "removed_in_spreads")):
            if name in own[0]:
                falls, by_random = (
                    [run["arms"][NONE][name] - run["arms"][which][name] for run in runs]
                    for which in (arm, RANDOM)
                )
                found[arm][removed] = interval(falls)
                found[arm][f"{removed}_times_random"] = ratio(falls, by_random)
    return found


def correlations(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Spearman's rho by kind of batch, predictor and target, over seeds."""
    found: dict[str, Any] = {}
    for kind, first in runs[0]["batches"].items():
        for name in PREDICTORS:
            if name in first:
                found.setdefault(kind, {})[name] = {
                    target: interval([_rho(run["batches"][kind], name, target) for run in runs])
                    for target in TARGETS
                }
    return found


def _rho(batches: dict[str, list[float]], predictor: str, target: str) -> float:
    return float(stats.spearmanr(batches[predictor], batches[target]).statistic)


def show(setting: str, result: dict[str, Any]) -> None:
    """Print both tables."""
    console = Console(width=240)
    table = Table(title=f"{setting}: held-out prompts, {len(result['runs'])} seeds")
    ratios = ("removed_times_random", "removed_in_spreads_times_random")
    for name in ("arm", *MEASURES, "removed, × random", "in spreads, × random"):
        table.add_column(name)
    for arm, own in result["summary"].items():
        cells = [_written(own[name]) if name in own else "" for name in MEASURES]
        table.add_row(arm, *cells, *(_written(own[name]) for name in ratios if name in own))
    console.print(table)
    if not result["correlations"]:
        return
    table = Table(title=f"{setting}: Spearman of predicted and actual fall of SEAM")
    for name in ("batches", "predictor", *TARGETS):
        table.add_column(name)
    for kind, predictors in result["correlations"].items():
        for name, own in predictors.items():
            table.add_row(kind, name, *(_written(own[target]) for target in TARGETS))
    console.print(table)


def _written(value: Interval) -> str:
    text = f"{value['mean']:.3f}"
    return text if value["low"] is None else f"{text} [{value['low']:.3f}, {value['high']:.3f}]"
