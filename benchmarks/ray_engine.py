"""What Ray costs on one machine: scoring seeds by one worker against this process, beyond start-up.

    python benchmarks/ray_engine.py --out benchmarks/results/ray_engine.json

Processor time of the whole process tree, with one thread per model, at two sizes: the slope between
them is what a seed costs, and what is left is the start-up (Ray's processes, a worker's imports and
models). Each run is a process of its own; the engines take turns.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from timing import machine, versions

from seamaug import api
from seamaug.resources import resource


def main() -> None:
    """Run both engines at both sizes, or one of these runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", type=int, nargs=2, default=(128, 640))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(_cpu_of(options.one[0], int(options.one[1])))
        return
    turns = [_turn(options.sizes) for _ in range(options.repeats)]
    overheads = [turn["ray"]["per_seed"] / turn["local"]["per_seed"] - 1 for turn in turns]
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "sizes": options.sizes,
        "machine": {**machine("cpu"), "threads": 1},
        "versions": versions(),
        "turns": turns,
        "overheads": [round(own, 3) for own in overheads],
        "overhead": round(statistics.median(overheads), 3),
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


def _turn(sizes: Sequence[int]) -> dict[str, Any]:
    """Both engines at both sizes, each size by the one right after the other."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    for size in sizes:
        for engine, own in seconds.items():
            own.append(_run(engine, size))
    found = {}
    for engine, (small, large) in seconds.items():
        slope = (large - small) / (sizes[1] - sizes[0])
        start_up = small - slope * sizes[0]
        found[engine] = {
            "cpu_seconds": [small, large], "per_seed": slope, "start_up": start_up
        }  # fmt: skip
    return found


def _run(engine: str, size: int) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--one", engine, str(size)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _cpu_of(engine: str, size: int) -> float:
    """Seconds of processor time that scoring so many bundled seeds took, in all processes."""
    if engine == "ray":
        import ray

        # Ours, so that its processes are still there to be asked at the end.
        ray.init(num_cpus=1, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as work:
        api.score(_seeds(size), work=work, engine=engine, samples=8)
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    # Workers that ended are in the times of the process that started them.
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _seeds(size: int) -> list[dict[str, Any]]:
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in itertools.islice(stream, size)]


if __name__ == "__main__":
    main()
