"""Time, memory and sameness of `seamaug expand` on the embedded default.

    python benchmarks/expand.py --budget 10k --runs 2 --out benchmarks/results/expand.json

Runs the command line as a user does, each time in a fresh process and folder, and reports wall
time, peak memory, the share of each kind of work, and whether all outputs have the same bytes.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUTPUTS = (
    "README.md",
    "provenance.parquet",
    "sft/train.parquet",
    "preference/train.parquet",
    "prompts/train.parquet",
)
# What a model, an index or a tokenizer does; all else is orchestration.
WORK = ("models", "policy", "reward", "embedder", "generation", "index", "tokenizer", "keep")


def run_once(budget: str, folder: Path) -> dict[str, Any]:
    """One run in a process of its own, with the kernel's account of it."""
    command = [
        sys.executable,
        "-m",
        "seamaug.cli",
        "expand",
        "--budget",
        budget,
        "--out",
        str(folder),
    ]
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    summary = json.loads((folder / "run.json").read_text())
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "wall_seconds": round(wall, 1),
        "peak_rss_gib": round(usage.ru_maxrss / 2**20, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "outcome": summary["outcome"],
        "candidates": summary["counts"]["candidates"],
        "by_stage": {stage: round(sum(k.values()), 1) for stage, k in summary["times"].items()},
        "by_kind": by_kind(summary["times"]),
        "sha256": hashes(folder),
    }


def hashes(folder: Path) -> dict[str, str]:
    """What two runs of the same seed must share."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in OUTPUTS}


def by_kind(times: dict[str, dict[str, float]]) -> dict[str, float]:
    """Seconds by kind of work over all stages; `models` is loading them."""
    kinds = dict.fromkeys((*WORK, "orchestration"), 0.0)
    for parts in times.values():
        for kind, seconds in parts.items():
            kinds[kind] += seconds
    return {kind: round(seconds, 2) for kind, seconds in kinds.items()}


def main() -> None:
    """Run, compare, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="10k")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--like", type=Path, help="a finished run to compare the bytes with")
    arguments = parser.parse_args()
    runs = []
    for number in range(arguments.runs):
        folder = Path(tempfile.mkdtemp(prefix="seamaug-bench-"))
        runs.append(run_once(arguments.budget, folder / "run"))
        shutil.rmtree(folder)
        print(json.dumps({"run": number, **runs[-1]}, indent=1), flush=True)
    compared = [json.dumps(run["sha256"]) for run in runs]
    if arguments.like:
        compared.append(json.dumps(hashes(arguments.like)))
    walls = [run["wall_seconds"] for run in runs]
    shares = [run["by_kind"]["orchestration"] / sum(run["by_kind"].values()) for run in runs]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"seamaug expand --budget {arguments.budget}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        "wall_seconds": {"median": statistics.median(walls), "min": min(walls), "max": max(walls)},
        "peak_rss_gib": max(run["peak_rss_gib"] for run in runs),
        "orchestration_share": round(max(shares), 4),
        "runs_with_identical_bytes": len(compared) if len(set(compared)) == 1 else 0,
        "runs": runs,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print({key: value for key, value in result.items() if key != "runs"})


if __name__ == "__main__":
    main()
