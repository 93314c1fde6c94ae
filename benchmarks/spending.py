"""Tokens that choosing where to spend saves: each `generate.allocation` against `uniform`.

    python benchmarks/spending.py --seeds 5 --rule lookahead --out FILE

For each seed a sample of the bundled prompts, on which `expand` runs with the embedded models and
operators once for each allocation. The sum of what the kept variants remove (the predicted
fall of mean SEAM, whatever the keep rule) is a function of the tokens generated. The
ratios are those of the tokens at which one of them and `uniform` reach so much of the smaller of
their two final sums: all of it says little where a run is saturated, and both curves are flat.

`lookahead` plans by the very figure that is summed here; what reward models trained on the kept
examples say is measured by spending_retrained.py.
"""

import argparse
import gzip
import json
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from timing import machine, versions

from seamaug import expand
from seamaug.resources import resource
from seamaug.steering import removed

SETTINGS = {
    "score.samples": 6,
    "select.share": 0.5,
    "generate.policy_samples": 0,
    "keep.hack_set_size": 4,
}
PROMPTS, BUDGET = 120, 320
SHORT = 400  # characters of prompt and golden response together
LEVELS = (0.5, 0.8, 0.9, 1.0)
ALLOCATIONS = ("uniform", "thompson", "lookahead")
POINTS = 20  # of the curves that are stored


def sample(seed: int, count: int) -> list[dict[str, Any]]:
    """Short bundled prompts, drawn anew for each seed."""
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if len(row["prompt"]) + len(row["chosen"]) < SHORT]
    return random.Random(seed).sample(short, count)


def curve(
    rows: list[dict[str, Any]], seed: int, budget: int, rule: str, allocation: str
) -> np.ndarray:
    """Tokens generated and discrepancy removed so far, after each candidate: shape (2, n)."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {**SETTINGS, "keep.rule": rule, "generate.allocation": allocation}
        result = expand(rows, budget=budget, seed=seed, out=Path(folder) / "run", settings=settings)
        made = result.provenance.to_list()
    return np.cumsum([[row["tokens"] for row in made], [removed(row) for row in made]], axis=1)


def measure(seed: int, prompts: int, budget: int, rule: str) -> dict[str, Any]:
    """All allocations on one sample."""
    rows, start = sample(seed, prompts), time.process_time()
    curves = {name: curve(rows, seed, budget, rule, name) for name in ALLOCATIONS}
    return {
        "seed": seed,
        "cpu_seconds": round(time.process_time() - start, 1),
        "ratios": {name: ratios(curves[name], curves["uniform"]) for name in ALLOCATIONS[1:]},
        "final": {name: own[:, -1].tolist() for name, own in curves.items()},
        "curves": {
            name: own[:, np.linspace(0, own.shape[1] - 1, POINTS).astype(int)].T.tolist()
            for name, own in curves.items()
        },
    }


def ratios(own: np.ndarray, even: np.ndarray) -> list[float]:
    """Tokens of one curve to those of another, at each level of what both reach."""
    goal = min(own[1, -1], even[1, -1])

    def tokens(curve: np.ndarray, level: float) -> float:
        return float(curve[0, np.searchsorted(curve[1], level * goal * (1 - 1e-9))])

    return [tokens(own, level) / tokens(even, level) for level in LEVELS]


def interval(values: Sequence[float] | np.ndarray) -> list[float] | None:
    """95 % interval of the mean, by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return [float(values[0])] * 2
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    return [float(low), float(high)]


def by_level(found: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Mean ratios over the seeds, with their intervals."""
    return {
        f"{level:.0%}": {"mean": float(np.mean(own)), "interval": interval(own)}
        for level, own in zip(LEVELS, zip(*found, strict=True), strict=True)
    }


def main() -> None:
    """Measure each seed and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--rule", default="lookahead", help="the keep rule of both runs")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.seeds):
        runs.append(measure(seed, arguments.prompts, arguments.budget, arguments.rule))
        print({key: value for key, value in runs[-1].items() if key != "curves"}, flush=True)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/spending.py --seeds {arguments.seeds} "
        f"--prompts {arguments.prompts} --budget {arguments.budget} --rule {arguments.rule}",
        "machine": machine("cpu"),
        "versions": versions(),
        "target": 2 / 3,
        "ratios": {
            name: by_level([run["ratios"][name] for run in runs]) for name in ALLOCATIONS[1:]
        },
        "runs": runs,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(result["ratios"])


if __name__ == "__main__":
    main()
