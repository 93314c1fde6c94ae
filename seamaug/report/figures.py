"""The charts of the page and what each of them shows, in a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seamaug.clusters import Clusters
from seamaug.report.candidates import Candidates
from seamaug.report.charts import Chart, Series, histogram_steps, line_chart
from seamaug.report.responses import Lengths, ScoredResponses

_BINS = 30
_SLIGHT = 0.1
"""Correlations below are not worth a word."""


def seam_unit(weighting: str) -> str:
    """What SEAM is measured in."""
    return "SD of rewards" if weighting == "prob" else "nats × SD of rewards"


def seam_chart(candidates: Candidates, weighting: str) -> Chart | None:
    """Distributions of SEAM before and after; None where nothing was kept."""
    before, after = np.array(candidates.before), np.array(candidates.after)
    if not len(before):
        return None
    top = float(np.quantile(np.concatenate([before, after]), 0.99)) or 1.0
    edges = np.linspace(0, top, _BINS + 1)
    means = float(before.mean()), float(after.mean())
    return line_chart(
        "Discrepancy of parents and kept variants",
        (f"SEAM ({seam_unit(weighting)}); the last bin holds all above", "share of examples (%)"),
        [
            Series("parent (before)", "before", histogram_steps(before, edges), filled=True),
            Series("kept variant (after)", "after", histogram_steps(after, edges), filled=True),
        ],
        f"Mean SEAM is {means[0]:.3f} for the parents and {means[1]:.3f} for the variants "
        f"({change(*means)}); {percent((after < before).mean())} of the variants lie below their "
        "parent. Parents were taken for their high SEAM, so part of it is regression to the mean.",
    )


@dataclass(frozen=True)
class ClusterRow:
    """Mean SEAM of a cluster's kept examples."""

    number: int
    name: str
    """The prompt in its middle."""
    kept: int
    before: float
    after: float


def cluster_rows(
    candidates: Candidates, labels: dict[str, int], names: list[str]
) -> list[ClusterRow]:
    """The clusters from which something was kept, highest SEAM before first.

    `labels`: cluster by parent's id; `names`: of the clusters.
    """
    pairs: list[list[tuple[float, float]]] = [[] for _ in names]
    for parent, before, after in zip(
        candidates.parents, candidates.before, candidates.after, strict=True
    ):
        if parent in labels:
            pairs[labels[parent]].append((before, after))
    rows = [
        ClusterRow(number + 1, names[number], len(own), *map(float, np.mean(own, axis=0)))
        for number, own in enumerate(pairs)
        if own
    ]
    return sorted(rows, key=lambda row: -row.before)


def cluster_reading(rows: list[ClusterRow], clustered: int, prompts: int) -> str:
    """Where SEAM fell; `clustered` of the selected `prompts` are in a cluster."""
    fell = sum(row.after < row.before for row in rows)
    most = max(rows, key=lambda row: row.before - row.after)
    return (
        f"SEAM of what was kept is lower in {fell} of {len(rows)} clusters, most of all in cluster "
        f"{most.number} ({change(most.before, most.after)})."
        + (f" The clusters are of {clustered:,} of {prompts:,} selected prompts, a sample."
           if clustered < prompts else "")
    )  # fmt: skip


def foreseen_charts(summary: dict[str, Any]) -> list[Chart]:
    """What training on the kept examples is predicted to do, as their number grows."""
    curve = summary["foreseen"].get("curve") or []
    if len(curve) < 2:
        return []
    first, last = curve[0], curve[-1]
    seam = line_chart(
        "Predicted SEAM of other seeds",
        ("kept examples", "mean SEAM (SD of rewards)"),
        [Series("predicted", "after", [(point["kept"], point["seam"]) for point in curve])],
        f"Training the reward model on all of them is predicted to move mean SEAM from "
        f"{first['seam']:.3f} to {last['seam']:.3f} ({change(first['seam'], last['seam'])}). A "
        "curve that flattens says that more examples of this kind buy little.",
    )
    return [seam, _variance_chart(summary, curve)]


def _variance_chart(summary: dict[str, Any], curve: list[dict[str, Any]]) -> Chart:
    tolerance = summary["config"]["keep"]["variance_tolerance"]
    first, last = curve[0], curve[-1]
    lines = [Series("predicted", "after", [(point["kept"], point["variance"]) for point in curve])]
    guard = "No guard was set (keep.variance_tolerance)."
    if tolerance is not None:
        floor = (1 - tolerance) * first["variance"]
        lines.append(Series("guard", "guard", [(first["kept"], floor), (last["kept"], floor)]))
        turned = summary["counts"]["candidates"]["rejected"].get("flattens the reward model", 0)
        guard = (
            f"The guard at −{percent(tolerance)} turned away {turned:,} candidates that would have "
            "flattened the rewards further."
        )
    return line_chart(
        "Reward variance and its guard",
        ("kept examples", "reward variance (SD²)"),
        lines,
        f"The variance of the rewards over the policy's own samples, from which RL learns, is "
        f"predicted to move from {first['variance']:.3f} to {last['variance']:.3f} "
        f"({change(first['variance'], last['variance'])}). {guard}",
        from_zero=False,
    )


def length_chart(responses: ScoredResponses, candidates: Candidates) -> Chart | None:
    """Mean reward by length of the response; None where lengths hardly differ."""
    bins = sorted((size, own) for size, own in responses.lengths.bins.items() if own[0] >= 2)
    if len(bins) < 2:
        return None
    sizes = [size / 2 for size, _ in bins]
    means = [float(own[1] / own[0]) for _, own in bins]
    errors = [
        float(np.sqrt(max(own[2] / own[0] - (own[1] / own[0]) ** 2, 0) / own[0])) for _, own in bins
    ]
    low = [mean - 1.96 * error for mean, error in zip(means, errors, strict=True)]
    high = [mean + 1.96 * error for mean, error in zip(means, errors, strict=True)]
    powers = range(int(np.ceil(sizes[0])), int(np.floor(sizes[-1])) + 1)
    return line_chart(
        "Length and reward",
        ("length of the response (tokens, logarithmic)", "mean reward (SD)"),
        [
            Series("95 % interval", "band", [*zip(sizes, low, strict=True),
                   *zip(sizes[::-1], high[::-1], strict=True)]),
            Series("mean reward", "after", list(zip(sizes, means, strict=True))),
        ],
        _length_reading(responses.lengths, candidates),
        x_ticks=[(power, f"{2**power:,}") for power in powers],
        from_zero=False,
    )  # fmt: skip


def _length_reading(lengths: Lengths, candidates: Candidates) -> str:
    overall, within = lengths.overall.r, lengths.within.r
    if overall is None or within is None:
        return "Lengths or rewards do not vary, so they have no correlation."
    how = (
        "hardly follows length"
        if abs(within) < _SLIGHT
        else f"{'rises' if within > 0 else 'falls'} with length"
    )
    text = (
        f"For one and the same prompt the reward {how}: r = {within:+.2f} between reward and "
        f"log-length within prompts ({overall:+.2f} over all responses). "
    )
    if candidates.before:
        share = candidates.chosen_is_longer / len(candidates.before)
        text += (
            f"In {percent(share)} of the kept examples the chosen response is the longer one; "
            "near 50 % the pairs themselves teach no taste for length."
        )
    return text


def percent(share: float) -> str:
    """``66 %``."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def change(before: float, after: float) -> str:
    """``−9 %``, or a word where there is nothing to divide by."""
    if not before:
        return "from zero"
    return f"{100 * (after / before - 1):+.0f}\N{NO-BREAK SPACE}%".replace("-", "−")


def labels_of(clusters: Clusters | None, ids: list[str], positions: np.ndarray) -> dict[str, int]:
    """Cluster by parent's id."""
    labels = clusters.labels if clusters else {}
    return {
        name: labels[position]
        for name, position in zip(ids, positions.tolist(), strict=True)
        if position in labels
    }
