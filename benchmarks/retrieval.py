"""Recall and speed of the index over a million vectors, against exact search and against HNSW.

    python benchmarks/retrieval.py --data DIR --out benchmarks/results/retrieval.json

prompt_vectors.py says what the vectors are. Queries are held out. Each figure of speed is queries
per second over the same queries in the same process with the same threads, in turns with exact
search; per second of CPU time too, which other work on the machine does not change.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from seamaug.config import RetrieveConfig
from seamaug.retrieve import shards
from seamaug.retrieve.index import VectorIndex, open_index
from seamaug.retrieve.vectors import open_vectors

K = 30
BATCH = 128  # queries at once, as in a run
TIE = 1e-6
STEPS = ("clusters", "shards", "clusters_small", "hnsw_small", "noise")
SHARDS = 8
Search = Callable[[np.ndarray], np.ndarray]
"""Queries to the cosines of what was found for each, (queries, K), nearest first."""


def memory() -> dict[str, float]:
    """GiB of this process: its own, and pages of mapped files, which the kernel may take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    names = {"own": "RssAnon", "mapped": "RssFile", "peak": "VmHWM"}
    return {name: round(found[key] / 2**20, 2) for name, key in names.items()}


def run(search: Search, queries: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Cosines found, queries per second, and per second of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = [search(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return np.concatenate(found), len(queries) / wall, len(queries) / cpu


def compared(search: Search, exact: Search, queries: np.ndarray, repeats: int) -> dict[str, Any]:
    """Recall and speed in turns with exact search: medians over the turns."""
    turns = []
    for _ in range(repeats):
        truth, *exact_speed = run(exact, queries)
        found, *speed = run(search, queries)
        turns.append([*speed, *exact_speed])
    wall, cpu, exact_wall, exact_cpu = np.median(turns, axis=0)
    ratios = np.array([[turn[0] / turn[2], turn[1] / turn[3]] for turn in turns])
    return {
        "recall_at_30": round(float((found >= truth[:, -1:] - TIE).mean()), 4),
        "queries_per_second": round(wall, 1),
        "queries_per_cpu_second": round(cpu, 1),
        "exact_queries_per_second": round(exact_wall, 1),
        "exact_queries_per_cpu_second": round(exact_cpu, 1),
        "times_exact": round(float(np.median(ratios[:, 0])), 1),
        "times_exact_by_cpu_time": round(float(np.median(ratios[:, 1])), 1),
        "turns": len(turns),
    }


def of_index(index: VectorIndex) -> Search:
    """Its search, less what was found."""
    return lambda queries: index.search(queries, K)[0]


def clustered(
    vectors: np.ndarray, queries: np.ndarray, folder: Path, repeats: int
) -> dict[str, Any]:
    """The package's index over these vectors: build, size, memory, recall, speed."""
    start, cpu = time.perf_counter(), time.process_time()
    index = open_index(vectors, RetrieveConfig(index="ivf"), folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    built = memory()
    start = time.perf_counter()
    open_index(vectors, RetrieveConfig(index="ivf"), folder)
    return {
        "build_seconds": round(seconds, 1),
        "build_cpu_seconds": round(cpu, 1),
        "reopen_seconds": round(time.perf_counter() - start, 1),
        "index_mib": round(shards.size_of(folder) / 2**20, 1),
        "memory_gib_after_build": built,
        "efforts": [asdict(effort) for effort in index._clustered.efforts],
        **compared(of_index(index), of_index(VectorIndex(vectors)), queries, repeats),
        "exact_by_faiss": compared(
            of_index(VectorIndex(vectors, "faiss")),
            of_index(VectorIndex(vectors)),
            queries[:BATCH],
            1,
        ),
    }


def in_shards(
    vectors: np.ndarray, queries: np.ndarray, folder: Path, repeats: int
) -> dict[str, Any]:
    """The same in shards as small as no index of a million has them."""
    usual = shards._SHARD
    shards._SHARD = -(-len(vectors) // SHARDS)
    try:
        return {"shards": SHARDS, **clustered(vectors, queries, folder, repeats)}
    finally:
        shards._SHARD = usual


def hnsw(vectors: np.ndarray, queries: np.ndarray, repeats: int) -> dict[str, Any]:
    """FAISS's HNSW over the same vectors: the least efSearch of a few that reaches 0.99."""
    start, cpu = time.perf_counter(), time.process_time()
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    index.add(vectors)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    exact = of_index(VectorIndex(vectors))
    for effort in (64, 128, 256, 512, 1024):
        index.hnsw.efSearch = effort
        found = compared(lambda some: index.search(some, K)[0], exact, queries, repeats)
        if found["recall_at_30"] >= 0.99:
            break
    return {
        "build_seconds": round(seconds, 1),
        "build_cpu_seconds": round(cpu, 1),
        "index_mib": round(len(faiss.serialize_index(index)) / 2**20, 1),
        "M": 32,
        "efConstruction": 80,
        "efSearch": effort,
        **found,
    }


def noise(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Directions without any structure."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Make the vectors in a process of its own, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of *.jsonl.gz with prompts, responses")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=200_000, help="vectors to compare HNSW on")
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vectors", type=Path, help="where they are kept between calls")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="seamaug-retrieval-"))
    path = options.vectors or scratch / "vectors.npy"
    if not path.exists():
        maker = [sys.executable, str(Path(__file__).parent / "prompt_vectors.py"), str(path)]
        maker += ["--count", str(options.count + options.queries)]
        subprocess.run(maker + (["--data", str(options.data)] if options.data else []), check=True)
    everything = open_vectors(path)
    queries = np.array(everything[-options.queries :])
    vectors = everything[: len(everything) - options.queries][: options.count]
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, faiss {faiss.__version__}",
        "threads": faiss.omp_get_max_threads(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "vectors": list(vectors.shape),
        "queries": len(queries),
    }

    small = vectors[: options.small]
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "clusters": lambda: clustered(vectors, queries, scratch, options.repeats),
        "shards": lambda: in_shards(vectors, queries, scratch / "shards", options.repeats),
        "clusters_small": lambda: clustered(small, queries, scratch / "small", options.repeats),
        "hnsw_small": lambda: hnsw(small, queries, options.repeats),
        "noise": lambda: clustered(
            noise(len(small), small.shape[1]),
            noise(len(queries), small.shape[1], seed=1),
            scratch / "noise",
            1,
        ),
    }
    for name in options.steps:
        result[name] = steps[name]()
        print(name, json.dumps(result[name], indent=1), flush=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
