"""`seamaug export` and `expand --formats` on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from seamaug.cli import main

Make = Callable[..., Any]


def says(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--quiet", *map(str, arguments)])


def test_help_teaches() -> None:
    told = says("export", "--help").stdout
    for word in ("trl", "openrlhf", "verl", "llamafactory", "axolotl", "--ratio", "4:1", "README"):
        assert word in told


def test_it_says_what_was_written_and_what_was_not(run: Path, tmp_path: Path) -> None:
    original = tmp_path / "own.jsonl"
    rows = [{"q": f"Seed {n}?", "a": "yes"} for n in range(50)]
    original.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--merge-with", original, "--ratio", "1:2", "--validation", "20%"]
    columns = ["--column", "prompt=q", "--column", "golden=a"]
    out = tmp_path / "out"
    result = says("export", run, "--to", "trl,axolotl", "--out", out, *options, *columns)
    assert result.exit_code == 0, result.output
    for name in ("trl", "axolotl"):
        assert f"{out / name}" in result.stdout.replace("\n", "")
        for path in (out / name).glob("*/*.parquet"):
            rows = pq.ParquetFile(path).metadata.num_rows
            told = [line.split() for line in result.stdout.splitlines()]
            assert any(
                line[:2] == [str(path.relative_to(out / name)), f"{rows:,}"] for line in told
            )
    assert "left out of reward: 4, each has several turns" in result.stdout
    assert "each has no rejected response" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "trll"], 2, "did you mean 'trl'?"),
        ([], 2, "give --to NAME"),
        (["--to", "trl", "--validation", "120%"], 2, "out of range"),
        (["--to", "trl", "--ratio", "1:1"], 1, "error: a ratio and columns are of the original"),
        (["--to", "trl", "--margin"], 1, "examples have no margin"),
        (["--to", "trl", "--merge-with", "none.jsonl"], 1, "none.jsonl does not exist"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], code: int, message: str, run: Path) -> None:
    result = says("export", run, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (run / "exports").exists()


def test_expand_exports_at_its_end_and_anew_when_it_is_run_again(
    bundled: Callable[[int], list[dict[str, Any]]], tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in bundled(12)), encoding="utf-8")
    config = tmp_path / "small.yaml"
    config.write_text(
        "score: {samples: 4}\nselect: {share: 0.5}\ngenerate: {policy_samples: 0}\n"
        "keep: {probes: 4, variance_tolerance: null}\n",
        encoding="utf-8",
    )
    run = tmp_path / "run"
    command = ["expand", seeds, "--budget", "4", "--config", config, "--out", run]
    assert says(*command, "--formats", "trll").exit_code == 2
    assert not run.exists()
    result = says(*command, "--formats", "trl,verl", "--formats", "trl")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (run / "exports").iterdir()) == ["trl", "verl"]
    canonical = pq.read_table(run / "preference" / "train.parquet").to_pylist()
    written = run / "exports" / "trl" / "preference" / "train.parquet"
    assert pq.read_table(written).to_pylist() == canonical
    assert "preference/train.parquet" in result.stdout
    before = written.read_bytes()
    written.unlink()
    assert says(*command, "--formats", "trl").exit_code == 0
    assert written.read_bytes() == before
    result = says("export", run, "--to", "trl")
    assert result.exit_code == 1
    assert "exists and is not empty" in result.stderr
