"""The results as a picture: arms with intervals, and predictions beside what came of them."""

from pathlib import Path
from typing import Any

import numpy as np
from pictures import pyplot_of, save

from keeping.arms import RANDOM
from keeping.results import TARGETS

_SHOWN = (("seam", "SEAM"), ("on_policy", "accuracy on policy"), ("off_policy", "off policy"))
_COLOUR = "#1b6ca8"


def draw(settings: dict[str, Any], out: Path) -> bool:
    """Write the picture; False where matplotlib, which only this needs, is not installed."""
    if (pyplot := pyplot_of("keep")) is None:
        return False
    predicted = all(result["correlations"] for result in settings.values())
    columns = len(_SHOWN) + predicted
    figure, axes = pyplot.subplots(
        len(settings), columns, figsize=(4 * columns, 4 * len(settings)), squeeze=False
    )
    for row, (setting, result) in zip(axes, settings.items(), strict=True):
        for place, (measure, title) in zip(row, _SHOWN, strict=False):
            _points(place, result["summary"], measure)
            place.set_title(f"{setting}: {title}")
        if predicted:
            _scatter(row[-1], result)
    save(pyplot, figure, out)
    return True


def _points(axes: Any, summary: dict[str, Any], measure: str) -> None:
    names = list(summary)
    means = np.array([summary[name][measure]["mean"] for name in names])
    highs = np.array([summary[name][measure]["high"] for name in names], float)  # None is NaN
    axes.errorbar(means, names, xerr=np.nan_to_num(highs - means), fmt="o", color=_COLOUR)
    axes.axvline(summary[RANDOM][measure]["mean"], color="black", linewidth=0.6, linestyle=":")
    axes.grid(axis="y", linewidth=0.3)
    axes.invert_yaxis()


def _scatter(axes: Any, result: dict[str, Any]) -> None:
    """Predictions in standard deviations of their seed: their unit differs between seeds."""
    predictor = next(iter(next(iter(result["correlations"].values()))))
    for kind in result["correlations"]:
        points = [
            (_standard(run["batches"][kind][predictor]), run["batches"][kind][TARGETS[0]])
            for run in result["runs"]
        ]
        x, y = (np.concatenate(own) for own in zip(*points, strict=True))
        axes.plot(x, y, "o", ms=3, alpha=0.6, label=f"batches: {kind}")
    axes.set_xlabel(f"predicted by {predictor}, standardised")
    axes.set_ylabel("actual fall of held-out SEAM")
    axes.legend(fontsize=7)


def _standard(values: list[float]) -> np.ndarray:
    found = np.asarray(values)
    standard: np.ndarray = (found - found.mean()) / (found.std() or 1.0)
    return standard
