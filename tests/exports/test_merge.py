"""Original and augmented rows in the ratio that was asked for, each with its source."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug import export
from seamaug.errors import ConfigError, InputError
from seamaug.exports.merge import Ratio, counts_at, mix, parse_ratio

Make = Callable[..., Any]
ROWS = [{"prompt": f"Seed {n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(60)]


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (None, (60, 40)),
        ("1:1", (40, 40)),
        ("3:1", (60, 20)),
        ("1:4", (10, 40)),
        ("60:40", (60, 40)),
        ("1000:1", (60, 1)),
    ],
)
def test_what_is_in_excess_is_sampled(
    ratio: str | None, counts: tuple[int, int], finished: Make, candidate: Make
) -> None:
    run = finished("run", [candidate(n) for n in range(40)])
    (done,) = export(run, to="trl", merge_with=ROWS, ratio=ratio)
    for file in ("sft", "preference", "dpo", "prompts"):
        rows = done.rows[f"{file}/train.parquet"]
        assert (rows["original"], rows["augmented"]) == counts
    labelled = done.rows["kto/train.parquet"]
    assert (labelled["original"], labelled["augmented"]) == (2 * counts[0], 2 * counts[1])
    told = pq.read_table(done.path / "provenance.parquet").to_pylist()
    mine = {row["row"]: row for row in told if row["file"] == "sft/train.parquet"}
    written = pq.read_table(done.path / "sft" / "train.parquet").to_pylist()
    for number, row in enumerate(written):
        original = row["messages"][0]["content"].startswith("Seed")
        assert mine[number]["source"] == ("original" if original else "augmented")
        assert (mine[number]["id"] == mine[number]["parent"]) is original
    texts = [row["messages"][0]["content"] for row in written]
    assert len(set(texts)) == len(texts)
    assert f"| sft/train.parquet | {sum(counts)} | {counts[0]} | {counts[1]} |" in (
        done.path / "README.md"
    ).read_text(encoding="utf-8")


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 20), st.integers(1, 20))
def test_counts_are_as_large_as_the_ratio_allows(
    originals: int, augmented: int, first: int, second: int
) -> None:
    taken = counts_at(Ratio(first, second), originals, augmented)
    assert 1 <= taken[0] <= originals
    assert 1 <= taken[1] <= augmented
    assert taken[0] == originals or taken[1] == augmented
    # The nearest whole number of rows, of which there is at least one.
    ratio = Fraction(first, second)
    assert (
        abs(taken[0] - taken[1] * ratio) <= Fraction(1, 2)
        or abs(taken[1] - taken[0] / ratio) <= Fraction(1, 2)
        or 1 in taken
    )


def test_a_mixture_is_even_from_its_first_rows_on() -> None:
    mixed = "".join(mix(("o" * 60, 60), ("a" * 20, 20)))  # type: ignore[arg-type]
    assert mixed.count("a") == 20
    assert all(mixed[start : start + 8].count("a") == 2 for start in range(0, 80, 8))


@pytest.mark.parametrize("text", ["4", "4:0", "0:1", "a:b", "1:2:3", "-1:2", "1.5:1", ""])
def test_a_ratio_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"original:augmented .* such as 4:1"):
        parse_ratio(text)


def test_an_original_row_gives_what_it_has(finished: Make, candidate: Make) -> None:
    run = finished("run", [candidate(0)])
    rows = [
        {"prompt": "One?", "golden": "one", "worse": []},
        {"prompt": "Two?", "golden": "two", "worse": ["2a", "2b"]},
        {"prompt": "Two?", "golden": "two again", "worse": ["2c"]},
    ]
    (done,) = export(run, to="trl", merge_with=rows)
    assert done.rows["sft/train.parquet"] == {"augmented": 1, "original": 3}
    assert done.rows["preference/train.parquet"] == {"augmented": 1, "original": 3}
    assert done.rows["kto/train.parquet"] == {"augmented": 2, "original": 5}
    reason = {"has no rejected response": 1}
    assert done.left_out == {"preference": reason, "dpo": reason, "kto": reason}
    pairs = pq.read_table(done.path / "preference" / "train.parquet").to_pylist()
    said = {(row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in pairs}
    assert {("two", "2a"), ("two", "2b"), ("two again", "2c")} < said


def test_originals_are_read_as_expand_reads_seeds(
    finished: Make, candidate: Make, tmp_path: Path
) -> None:
    run = finished("run", [candidate(0)])
    path = tmp_path / "own.csv"
    path.write_text('q,a\n"How, then?",So\n', encoding="utf-8")
    settings = {"seeds.columns": {"prompt": "q", "golden": "a"}}
    (done,) = export(run, to="trl", merge_with=str(path), settings=settings)
    rows = pq.read_table(done.path / "sft" / "train.parquet").to_pylist()
    assert [turn["content"] for turn in rows[0]["messages"]] == ["How, then?", "So"]


def test_bad_originals_are_named_by_file_and_row_and_nothing_is_written(
    finished: Make, candidate: Make, tmp_path: Path
) -> None:
    run = finished("run", [candidate(0)])
    path = tmp_path / "own.jsonl"
    bad = {"prompt": "", "chosen": "b", "rejected": "c"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [ROWS[0], bad]), encoding="utf-8")
    with pytest.raises(InputError, match=r"own.jsonl:2: field 'prompt' is empty"):
        export(run, to="trl", merge_with=str(path))
    path.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"own.jsonl holds no rows to merge with"):
        export(run, to="trl", merge_with=[str(path)])
    assert not (run / "exports").exists()
