"""Trainers' own code reads what `export` wrote: `make check-consumers`, which makes the page.

A small real run is exported for each consumer. A loader, LOADER.py beside this file, runs in the
consumer's environment and tells which texts a model would get there; these are compared here with
what the run's provenance says.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from seamaug import export
from seamaug.resources import resource
from tests.consumers.expected import expected_rows
from tests.consumers.page import page
from tests.consumers.seeded_run import make_run

HERE = Path(__file__).parent
CONSUMERS = ("trl", "openrlhf", "verl", "llamafactory", "axolotl")
WITH_MARGIN = ("trl", "openrlhf")


@dataclass
class Checked:
    """What one consumer made of its export."""

    name: str
    version: str = ""
    """Empty where it is not installed."""
    files: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def export_for(run: Path, name: str, folder: Path) -> Path:
    """Every form, on two sides, with margins where the consumer reads them."""
    export(run, to=name, out=folder, validation=0.3, margin=name in WITH_MARGIN)
    return folder / name


def check(name: str, run: Path, exported: Path, python: Path) -> Checked:
    """The consumer's loader under its Python, and how what it told differs from the run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "told.json")
        models = [str(resource("embedded", role)) for role in ("policy", "reward")]
        command = [python, HERE / f"load_{name}.py", exported, *models, out]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command,
            env={**own, "HF_DATASETS_CACHE": f"{folder}/cache"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return Checked(name, problems=[f"its loader failed:\n{done.stderr[-4000:]}"])
        told = json.loads(out.read_text(encoding="utf-8"))
    problems = [f"it warned: {text}" for text in told["complaints"]]
    problems += [text for file in told["files"] for text in compare(run, exported, file)]
    return Checked(name, told["version"], told["files"], problems)


def compare(run: Path, exported: Path, told: dict[str, Any]) -> Iterator[str]:
    """Where the rows that a consumer read differ from what the run holds for that file."""
    file = f"{told['form']}/{told['side']}.parquet"
    place = f"{file} through {told['through']}"
    rows = pq.read_table(exported / "provenance.parquet").to_pylist()
    ids = {row["id"]: None for row in rows if row["file"] == file and not row["left_out"]}
    expected = Counter(expected_rows(told["kind"], run, list(ids)))
    found = Counter(tuple(row) for row in told["rows"])
    if not found:
        yield f"{place}: no rows"
    if found != expected:
        lost, new = expected - found, found - expected
        yield (
            f"{place}: {found.total()} rows, expected {expected.total()}; "
            f"{lost.total()} differ, such as\n  {next(iter(lost), None)!r}\nwhere it read\n"
            f"  {next(iter(new), None)!r}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=CONSUMERS, metavar="NAME")
    parser.add_argument("--environments", type=Path, required=True, help="Has a folder for each.")
    parser.add_argument("--run", type=Path, help="A finished run; made anew without.")
    parser.add_argument("--page", type=Path, help="The page to write.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run or make_run(Path(folder, "run")).path
        results = []
        for name in arguments.names:
            exported = export_for(run, name, Path(folder, "exports"))
            environment = arguments.environments.absolute() / name
            if (environment / ".installed").exists():
                results.append(check(name, run, exported, environment / "bin" / "python"))
            else:
                results.append(Checked(name, problems=["not installed: nothing was checked"]))
            print(f"{name} {results[-1].version}: {len(results[-1].problems)} problems", flush=True)
            for problem in results[-1].problems:
                print(problem, flush=True)
    if arguments.page:
        today = datetime.date.today().isoformat()
        arguments.page.parent.mkdir(exist_ok=True)
        arguments.page.write_text(page(results, today, platform.python_version()), "utf-8")
    sys.exit(any(result.problems for result in results))


if __name__ == "__main__":
    main()
