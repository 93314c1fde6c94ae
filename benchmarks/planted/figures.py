"""The results as a table on the terminal and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pictures import pyplot_of, save
from rich.console import Console
from rich.table import Table

from planted.measure import DEFINITION, WEIGHTINGS
from planted.plan import FLAWS, GROUPS
from planted.scores import ESTIMATORS, TRUTH, Scored, World

_COLOURS = {"prob": "#1b6ca8", "paper": "#d1682b", DEFINITION: "#7a7a7a"}
_BAR = 0.9
"""What on-policy under `prob` is to reach."""


def show(result: dict[str, Any]) -> None:
    """Print the table of areas, and what the hack sets are like."""
    console = Console()
    table = Table(title="ROC-AUC of finding prompts where flaw and exploit meet")
    for name in ("method", "weighting", "against all others", "seeds", "against flaw alone"):
        table.add_column(name)
    for kind in FLAWS:
        table.add_column(kind)
    for row in result["auc"]:
        low, high = row["all_seeds"]
        cells = [
            _with_interval(row, "all"),
            f"{low:.3f} to {high:.3f}",
            _with_interval(row, "hard"),
        ]
        by_flaw = [f"{row['by_flaw'][kind]:.2f}" for kind in FLAWS]
        table.add_row(row["method"], row["weighting"], *cells, *by_flaw)
    console.print(table)
    sets = Table(title="Hack sets: log-probability per token, and hack rate, by group")
    for name in ("estimator", *GROUPS):
        sets.add_column(name)
    for name, groups in result["sets"].items():
        sets.add_row(name, *(_described(own) for own in groups.values()))
    console.print(sets)
    for name, what in (
        ("auc_by_samples", "samples"),
        ("auc_by_noise", "noise of the reward model"),
    ):
        areas = [run[name] for run in result["runs"]]
        means = {key: np.mean([own[key] for own in areas]) for key in areas[0]}
        shown = ", ".join(f"{key}: {mean:.3f}" for key, mean in means.items())
        console.print(f"on-policy, prob, against all others, by {what}: {shown}")


def _described(own: dict[str, float | None]) -> str:
    logprob = own["logprob_per_token"]  # None where all sets of the group are empty
    return f"{'none' if logprob is None else format(logprob, '.2f')}, {own['hack_rate']:.2f}"


def _with_interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"


def draw(result: dict[str, Any], worlds: Sequence[tuple[World, Scored]], out: Path) -> bool:
    """Write the picture; False where matplotlib, which only this needs, is not installed."""
    if (pyplot := pyplot_of("planted")) is None:
        return False
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.6), width_ratios=(3, 2), dpi=150)
    _draw_aucs(left, result["auc"])
    _draw_strips(right, worlds)
    save(pyplot, figure, out)
    return True


def _draw_aucs(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    by_key = {(row["method"], row["weighting"]): row for row in rows}
    names = (*ESTIMATORS, TRUTH)
    for shift, weighting in enumerate((*WEIGHTINGS, DEFINITION)):
        for name, filled in (("all", True), ("hard", False)):
            own = [by_key[method, weighting] for method in names]
            values = np.array([row[name] for row in own])
            bounds = np.array([row[f"{name}_interval"] for row in own])
            axes.errorbar(
                np.arange(len(names)) + 0.22 * (shift - 1) + (0 if filled else 0.08),
                values,
                np.abs(bounds.T - values),
                fmt="o",
                color=_COLOURS[weighting],
                markerfacecolor=_COLOURS[weighting] if filled else "white",
                markersize=5,
                linewidth=1,
                label=f"{weighting}, against {'all others' if filled else 'flaw alone'}",
            )
    axes.axhline(0.5, color="black", linewidth=0.6, linestyle=":")
    axes.axhline(_BAR, color="black", linewidth=0.6, linestyle="--")
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axes.set_ylim(0.1, 1.03)
    axes.set_ylabel("ROC-AUC, 95 % interval")
    axes.set_title("Prompts where flaw and exploit meet, ranked by SEAM")
    axes.legend(fontsize=7, loc="lower right", ncols=3)


def _draw_strips(axes: Any, worlds: Sequence[tuple[World, Scored]]) -> None:
    rng = np.random.default_rng(0)
    for number in range(len(GROUPS)):
        values = np.concatenate(
            [scored.scores.seam("prob")[world.groups == number] for world, scored in worlds]
        )
        places = number + rng.uniform(-0.3, 0.3, len(values))
        # Rasterised: a thousand points as paths would make a large file.
        axes.plot(places, values, "o", ms=2, alpha=0.4, color=_COLOURS["prob"], rasterized=True)
        axes.plot([number - 0.35, number + 0.35], [np.nanmedian(values)] * 2, color="black")
    axes.set_xticks(range(len(GROUPS)), [group.replace(", ", ",\n") for group in GROUPS])
    axes.set_ylabel("SEAM, on-policy, prob (standard deviations)")
    axes.set_title("Each prompt; the bar is the median")
