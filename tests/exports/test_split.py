"""Validation rows share no parent with training rows, in any file of any export."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug import export
from seamaug.errors import ConfigError
from seamaug.exports.split import VALIDATION, side_of
from seamaug.records import text_key, user_message

Make = Callable[..., Any]


def sides(folder: Path) -> dict[str, set[str]]:
    """The sides on which each parent's rows stand."""
    found: dict[str, set[str]] = {}
    for row in pq.read_table(folder / "provenance.parquet").to_pylist():
        found.setdefault(row["parent"], set()).add(row["file"].split("/")[1])
    return found


@pytest.mark.parametrize("name", ["trl", "openrlhf", "verl", "llamafactory", "axolotl"])
def test_siblings_stay_on_one_side(name: str, run: Path) -> None:
    (done,) = export(run, to=name, validation="20%")
    found = sides(done.path)
    assert all(len(side) == 1 for side in found.values())
    shares = Counter(next(iter(side)) for side in found.values())
    assert 0.05 < shares["validation.parquet"] / shares.total() < 0.4
    for form in {file.split("/")[0] for file in done.rows}:
        assert f"{form}/train.parquet" in done.rows
        assert f"{form}/validation.parquet" in done.rows


def test_a_parent_s_own_row_stands_with_its_children(finished: Make, candidate: Make) -> None:
    rows = [{"prompt": f"Seed {n}?", "chosen": "yes", "rejected": "no"} for n in range(40)]
    ids = [text_key(user_message(row["prompt"])) for row in rows]
    run = finished("run", [candidate(n, parent=ids[n // 2]) for n in range(80)])
    for name in ("trl", "verl"):
        (done,) = export(run, to=name, validation=0.2, merge_with=rows)
        told = pq.read_table(done.path / "provenance.parquet").to_pylist()
        assert {row["parent"] for row in told if row["source"] == "original"} == set(ids)
        assert all(len(side) == 1 for side in sides(done.path).values())


def test_a_parent_s_side_does_not_depend_on_what_else_is_exported(
    finished: Make, candidate: Make
) -> None:
    few = finished("few", [candidate(n) for n in range(30)])
    many = finished("many", [candidate(n) for n in range(80)])
    first, second = (sides(export(run, to="trl", validation="20%")[0].path) for run in (few, many))
    assert first.items() <= second.items()


def test_a_larger_share_validates_on_all_that_a_smaller_one_does() -> None:
    names = [f"parent {n}" for n in range(2000)]
    small, large = ({p for p in names if side_of(p, s) == VALIDATION} for s in (0.05, 0.3))
    assert small < large
    assert abs(len(small) / 2000 - 0.05) < 0.02
    assert abs(len(large) / 2000 - 0.3) < 0.04


def test_a_share_that_leaves_one_side_empty_is_refused(finished: Make, candidate: Make) -> None:
    run = finished("run", [candidate(0), candidate(1)])
    with pytest.raises(ConfigError, match=r"all examples are on the (train|validation) side"):
        export(run, to="trl", validation="5%")
    assert not (run / "exports").exists()
