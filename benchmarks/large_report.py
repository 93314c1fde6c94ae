"""Time, memory and size of the report of a large run, made by repeating a real one.

    seamaug expand --budget 500 --out runs/small
    python benchmarks/large_report.py runs/small --candidates 100000 --out large_report.json

Rows of the provenance, the parents and the scores are repeated under new ids until there are as
many as asked for, 25 candidates to a parent and 5 seeds to a parent. The time is the processor's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from timing import machine, versions

from seamaug.records import text_key
from seamaug.run.seal import seal

PER_PARENT, SEEDS_PER_PARENT, ROWS_OF_A_PART = 25, 5, 2000
STAGE = "score-contrast"


def enlarged(run: Path, folder: Path, candidates: int) -> None:
    """A run folder with so many candidates, from the rows of `run`."""
    parents = candidates // PER_PARENT
    seeds = parents * SEEDS_PER_PARENT
    (folder / "stages" / "embed").mkdir(parents=True)
    vectors = np.load(run / "stages" / "embed" / "vectors.npy")
    noise = np.random.default_rng(0).normal(0, 0.03, (seeds, vectors.shape[1]))
    repeated = vectors[np.arange(seeds) % len(vectors)] + noise
    unit = repeated / np.linalg.norm(repeated, axis=1, keepdims=True)
    np.save(folder / "stages" / "embed" / "vectors.npy", unit.astype(np.float32))

    _write_parts(folder / "stages" / STAGE, _whole(run / "stages" / STAGE), seeds)
    ids = [text_key(["parent", n]) for n in range(parents)]
    positions = [n * SEEDS_PER_PARENT for n in range(parents)]
    own = _whole(run / "stages" / "parents")
    _write_parts(folder / "stages" / "parents", own, parents, id=ids, position=positions)
    _write_candidates(run, folder, candidates, ids)
    _write_summary(run, folder, candidates, seeds, parents)


def _whole(stage: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(stage.glob("*.parquet")))


def _write_parts(stage: Path, table: pa.Table, rows: int, **columns: list[object]) -> None:
    stage.mkdir()
    for number, start in enumerate(range(0, rows, ROWS_OF_A_PART)):
        places = np.arange(start, min(start + ROWS_OF_A_PART, rows))
        part = table.take(pa.array(places % table.num_rows))
        for name, values in columns.items():
            field = part.schema.get_field_index(name)
            own = pa.array([values[place] for place in places], part.schema.field(field).type)
            part = part.set_column(field, name, own)
        path = stage / f"{number:05d}.parquet"
        pq.write_table(part, path)
        seal(path)


def _write_candidates(run: Path, folder: Path, candidates: int, ids: list[str]) -> None:
    table = pq.read_table(run / "provenance.parquet")
    with pq.ParquetWriter(folder / "provenance.parquet", table.schema) as writer:
        for start in range(0, candidates, ROWS_OF_A_PART):
            places = range(start, min(start + ROWS_OF_A_PART, candidates))
            part = table.take(pa.array([place % table.num_rows for place in places]))
            part = part.set_column(
                part.schema.get_field_index("id"), "id", pa.array([text_key(n) for n in places])
            ).set_column(
                part.schema.get_field_index("parent"),
                "parent",
                pa.array([ids[n // PER_PARENT % len(ids)] for n in places]),
            )
            writer.write_table(part)
    seal(folder / "provenance.parquet")


def _write_summary(run: Path, folder: Path, candidates: int, seeds: int, parents: int) -> None:
    summary = json.loads((run / "run.json").read_text(encoding="utf-8"))
    verdicts = pq.read_table(folder / "provenance.parquet", columns=["verdict", "reason"])
    counts = {"total": candidates, "kept": 0, "rejected": {}, "failed": {}}
    for row in verdicts.group_by(["verdict", "reason"]).aggregate([([], "count_all")]).to_pylist():
        if row["verdict"] == "kept":
            counts["kept"] += row["count_all"]
        else:
            counts[row["verdict"]][row["reason"]] = row["count_all"]
    own = summary["counts"]
    own.update(rows=seeds, merged=0, candidates=counts)
    own["seeds"].update(total=seeds, scored=seeds, failed=0, selected=parents, set_aside={})
    summary["budget"] = counts["kept"]
    (folder / "run.json").write_text(json.dumps(summary), encoding="utf-8")


def measured(folder: Path) -> dict[str, float]:
    """What `report` takes in a process of its own, and how large its page is."""
    program = (
        "import json, resource, sys, time\n"
        "from seamaug.reporting import report\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
        "imports, start = peak(), time.process_time()\n"
        "page = report(sys.argv[1])\n"
        "print(json.dumps({'cpu_s': round(time.process_time() - start, 1),\n"
        "    'peak_gib': round(peak(), 2), 'peak_of_imports_gib': round(imports, 2),\n"
        "    'page_mb': round(page.stat().st_size / 1e6, 2)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="Leave the enlarged run here.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary) / "run"
        enlarged(arguments.run, folder, arguments.candidates)
        found: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"),
            "candidates": arguments.candidates,
            **measured(folder),
            "machine": machine("cpu"),
            "versions": versions(),
        }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
