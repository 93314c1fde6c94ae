"""What an ensemble of heads costs over one reward model.

    python benchmarks/heads.py --out benchmarks/results/heads.json

`seamaug strength` trains ten last layers on the bundled policy and has them vote; `train-rm` trains
one. Both see the same bundled pairs once; whole commands in turns, by processor time (target: ten
heads cost less than twice one reward model).
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import interleaved, machine, versions

from seamaug import strength, train_rm
from seamaug.config import SeedsConfig
from seamaug.seeds.read import read_rows

HEADS = 10


def ensemble(rows: list[dict[str, Any]]) -> list[float]:
    """Train it, and have it vote."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"ensemble.heads": HEADS, "ensemble.trainer.num_train_epochs": 1}
        strength(rows, out=Path(folder) / "out", settings=settings)
    return []


def one(rows: list[dict[str, Any]]) -> list[float]:
    """Train one reward model."""
    with tempfile.TemporaryDirectory() as folder:
        train_rm(rows, out=Path(folder) / "out", settings={"trainer.num_train_epochs": 1})
    return []


def main() -> None:
    """Measure in turns, print and store the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for _, row in read_rows(SeedsConfig())][: arguments.pairs]
    for command in (one, ensemble):  # what is loaded once counts for neither
        command(rows[:32])
    commands = {"one": one, "ensemble": ensemble}
    taken = interleaved(commands, rows, repeats=arguments.rounds, patience=math.inf)
    ratios = [many / few for many, few in zip(taken["ensemble"].cpu, taken["one"].cpu, strict=True)]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "heads": HEADS,
        "pairs": len(rows),
        "cpu_seconds": {name: [round(n, 1) for n in own.cpu] for name, own in taken.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "machine": machine("cpu"),
        "versions": versions(),
    }
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print({name: found[name] for name in ("pairs", "cpu_seconds", "ratio", "ratios")})


if __name__ == "__main__":
    main()
