"""What scripts and shells rely on: JSON alone on standard output, exit codes, completion."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug.errors import SeamaugError


def seamaug(folder: Path, *arguments: str | Path, **environment: str) -> Any:
    """The command as a process of its own, with its two outputs apart."""
    program = "from seamaug.cli import main; main(prog_name='seamaug')"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bundled: Any) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    rows = "".join(json.dumps(row) + "\n" for row in bundled(12))
    (folder / "prefs.jsonl").write_text(rows)
    return folder


def test_expand_and_show_print_one_object_and_the_exit_code_says_how_it_ended(
    folder: Path,
) -> None:
    done = seamaug(folder, "expand", "prefs.jsonl", "--budget", "2", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found.pop("out"), found.pop("exports")) == ("run", [])
    assert found == json.loads((folder / "run" / "run.json").read_text())
    assert found["outcome"] == "budget met"
    assert "score-contrast: 12 seeds" in done.stderr

    shown = seamaug(folder, "show", "run", "--json")
    assert json.loads(shown.stdout) == {"out": "run", **found}
    assert shown.stderr == ""

    config = folder / "few.yaml"
    config.write_text("generate: {per_parent: 1}\nselect: {top: 2}\n")
    short = seamaug(folder, "expand", "prefs.jsonl", "--config", config, "--out", "few", "--json")
    assert short.returncode == 3, short.stderr
    assert json.loads(short.stdout)["outcome"] == "candidates ran out"


def test_a_dry_run_prints_its_plan(folder: Path) -> None:
    done = seamaug(folder, "expand", "prefs.jsonl", "--dry-run", "--pilot", "0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["pilot"]) == (12, None)
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"]))
    assert found["kept"] <= found["budget"]


def test_score_and_select_print_one_object(folder: Path) -> None:
    done = seamaug(
        folder, "score", "prefs.jsonl", "--estimator", "contrast", "--estimator", "on-policy",
        "--samples", "4", "--out", "scores.parquet", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: found[name] for name in ("out", "estimators", "scored", "failed")} == {
        "out": "scores.parquet",
        "estimators": ["contrast", "on_policy"],
        "scored": 12,
        "failed": 0,
    }
    seam = pq.read_table(folder / "scores.parquet")["contrast_seam_prob"].to_pylist()
    quartiles = found["quartiles"]["contrast_seam_prob"]
    assert (quartiles[0], quartiles[-1]) == (min(seam), max(seam))
    assert 0 <= found["agreement"]["on_policy"] <= 1

    selected = seamaug(
        folder, "--quiet", "select", "prefs.jsonl", "--scores", "scores.parquet",
        "--drop-worst", "25%", "--out", "rest.jsonl", "--json",
    )  # fmt: skip
    assert json.loads(selected.stdout) == {"out": "rest.jsonl", "rows": 9}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["score", "missing.jsonl", "--out", "x.parquet", "--json"], SeamaugError.exit_code),
        (["score", "--jsn"], 2),
    ],
)
def test_an_error_leaves_standard_output_empty(
    folder: Path, arguments: list[str], code: int
) -> None:
    done = seamaug(folder, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr


def test_help_says_the_exit_codes(folder: Path) -> None:
    said = " ".join(seamaug(folder, "--help").stdout.split())
    for code in ("0 done", "1 an error", "2 a wrong command line", "3 done", "130 interrupted"):
        assert code in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(folder: Path, shell: str) -> None:
    made = seamaug(folder, _SEAMAUG_COMPLETE=f"{shell}_source")
    assert made.returncode == 0, made.stderr
    assert f"_SEAMAUG_COMPLETE={shell}_complete" in made.stdout
    if path := shutil.which(shell):  # it reads the script without an error
        script = folder / f"complete.{shell}"
        script.write_text(made.stdout)
        subprocess.run([path, "-n", script], check=True)


def test_completion_knows_commands_options_and_choices(folder: Path) -> None:
    def completed(*words: str) -> list[str]:
        given = {
            "_SEAMAUG_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("seamaug", *words)),
            "COMP_CWORD": str(len(words)),
        }
        lines = seamaug(folder, **given).stdout.splitlines()
        return [line.partition(",")[2] for line in lines]

    assert completed("expa") == ["expand"]
    assert completed("doct") == ["doctor"]
    assert completed("score", "--weig") == ["--weighting"]
    assert completed("score", "--weighting", "p") == ["prob", "paper"]
