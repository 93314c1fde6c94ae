"""The command line as a user meets it: results, one clear message per mistake, nothing lost."""

import csv
import gzip
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import seamaug
from seamaug import api
from seamaug.cli import main
from seamaug.resources import resource as shipped

SCORE_COLUMNS = [
    "id",
    "where",
    "prompt",
    "golden",
    "seam",
    "seam_low",
    "seam_high",
    "golden_reward",
    "golden_logprob",
    "error",
    "contrast_seam_prob",
    "contrast_seam_paper",
    "contrast_hack_rate",
    "contrast_plausibility",
    "contrast_hack_set",
    "contrast_low",
    "contrast_high",
    "contrast_worst_response",
    "contrast_error",
]
OUTPUTS = [
    "sft/train.parquet",
    "preference/train.parquet",
    "prompts/train.parquet",
    "provenance.parquet",
    "README.md",
]


@pytest.fixture(autouse=True)
def _terminal_logging_stays_here() -> Iterator[None]:
    logger = logging.getLogger("seamaug")
    before = (list(logger.handlers), logger.level)
    yield
    logger.handlers, logger.level = before


def short_seeds(count: int = 12) -> list[dict[str, Any]]:
    with gzip.open(shipped("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    fits = [r for r in rows if len(r["prompt"]) < 120 and len(r["chosen"]) < 120]
    return [r for r in fits if r["set"] == "truthfulqa"][:count]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".csv":
            return list(csv.DictReader(stream))
        return [json.loads(line) for line in stream]


def seamaug_says(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: str | Path, code: int = 1) -> str:
    """The one message of a command that must fail, on standard error and without a traceback."""
    result = seamaug_says("--quiet", *arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("error: ") == 1
    return result.stderr


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("seeds") / "seeds.jsonl", short_seeds())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, seeds: Path) -> Path:
    """An undisturbed run, to be read and never written."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    result = seamaug_says("expand", seeds, "--budget", "5", "--out", run)
    assert result.exit_code == 0, result.output
    assert "5 of 5 examples kept" in result.stdout
    return run


@pytest.mark.parametrize(
    "command", ["", "expand", "score", "select", "show", "report", "diagnose", "operators"]
)
def test_help_of_every_command(command: str) -> None:
    result = seamaug_says(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert f"Usage: main {command}".strip() in result.stdout
    named = {"": ["expand", "Exit codes"], "show": ["RUN"], "operators": ["--from"]}
    for option in named.get(command, ["--out"]):
        assert option in result.stdout


def test_help_starts_without_the_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "from seamaug.cli import main\n"
        "for command in ('', *main.commands):\n"
        "    try:\n"
        "        main([*command.split(), '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0\n"
        "heavy = 'torch transformers datasets numpy pyarrow sentence_transformers faiss yaml'\n"
        "print('HEAVY', [name for name in heavy.split() if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")


def test_version() -> None:
    assert seamaug.__version__ in seamaug_says("--version").stdout


def test_expand_writes_what_the_issue_names(finished: Path) -> None:
    for name in [*OUTPUTS, "run.json"]:
        assert (finished / name).is_file()
    counts = summary_of(finished)["counts"]
    assert counts["rows"] == counts["seeds"]["total"] == counts["seeds"]["scored"] == 12
    candidates = counts["candidates"]
    assert candidates["kept"] == pq.read_table(finished / "sft/train.parquet").num_rows == 5
    others = [*candidates["rejected"].values(), *candidates["failed"].values()]
    assert candidates["total"] == candidates["kept"] + sum(others)


def test_a_finished_run_is_left_as_it_is(finished: Path, seeds: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.rglob("*.*")}
    result = seamaug_says("expand", seeds, "--budget", "5", "--out", finished)
    assert result.exit_code == 0
    assert "is finished: budget met; nothing to do" in result.stderr
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in finished.rglob("*.*")} == before


def test_another_run_s_folder_is_refused_with_the_difference(finished: Path, seeds: Path) -> None:
    message = refused("expand", seeds, "--budget", "6", "--seed", "7", "--out", finished)
    assert f"{finished} holds a run with other settings:" in message
    assert "config.budget: 5 -> 6\n" in message
    assert "config.seed: 0 -> 7\n" in message
    assert len([line for line in message.splitlines() if " -> " in line]) == 2
    assert summary_of(finished)["budget"] == 5


def test_changed_seeds_are_another_run(finished: Path, seeds: Path) -> None:
    original = seeds.read_bytes()
    try:
        write_rows(seeds, short_seeds()[:-1])
        message = refused("expand", seeds, "--budget", "5", "--out", finished)
    finally:
        seeds.write_bytes(original)
    assert "seeds.rows: 12 -> 11" in message
    assert "seeds.fingerprint" in message


def test_out_must_be_ours(tmp_path: Path, seeds: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("precious")
    assert "is not a seamaug run; choose an empty or new --out" in refused(
        "expand", seeds, "--out", foreign
    )
    assert [p.name for p in foreign.iterdir()] == ["chapter.tex"]

    file = tmp_path / "file"
    file.write_text("precious")
    assert "is not a seamaug run" in refused("expand", seeds, "--out", file)
    message = refused("expand", seeds, "--out", file / "run")
    assert f"cannot write {file / 'run'}" in message
    assert "Not a directory" in message
    assert file.read_text() == "precious"


def test_out_that_cannot_be_written(tmp_path: Path, seeds: Path) -> None:
    message = refused("expand", seeds, "--out", "/proc/seamaug-run")  # not writable for root too
    assert "cannot write /proc/seamaug-run" in message
    for command in (["score"], ["select", "--drop-worst", "20%"]):
        assert "cannot write" in refused(*command, seeds, "--out", "/proc/result.csv")
        assert "cannot write" in refused(*command, seeds, "--out", seeds / "result.csv")


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


BAD_SEEDS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "no gzip": ("s.jsonl.gz", lambda: b'{"prompt": "a"}', "is not a readable gzip file"),
    "cut gzip": ("s.jsonl.gz", lambda: cut(gzip.compress(b'{"a": 1}' * 99)), "is truncated; copy"),
    "line": ("s.jsonl", lambda: b'{"prompt": "a", "golden": "b"}\n{"prompt"', ":2: expected one"),
    "column": ("s.csv", lambda: b"frage,antwort\na,b\n", "among the columns frage, antwort; map"),
    "empty": ("s.jsonl", lambda: b'{"prompt": "", "golden": "b"}', ":1: field 'prompt' is empty"),
    "null": ("s.jsonl", lambda: b'{"prompt": "a", "golden": null}', "'golden' must be text or"),
    "number": ("s.jsonl", lambda: b'{"prompt": 3, "golden": "b"}', "'prompt' must be text or a"),
    "utf-8": ("s.jsonl", lambda: b'{"prompt": "\xff"}', ":1: not UTF-8 text"),
    "parquet": ("s.parquet", lambda: b"PAR1", "is not a readable Parquet file"),
    "0 seeds": ("s.jsonl", lambda: b"", "0 seed(s) with a prompt of their own; at least 3"),
    "1 seed": ("s.jsonl", lambda: b'{"prompt": "a", "golden": "b"}\n', "1 seed(s)"),
    "2 seeds": (
        "s.jsonl",
        lambda: b'{"prompt": "a", "golden": "b"}\n{"prompt": "c", "golden": "d"}\n' * 2,
        "2 seed(s)",
    ),
}


@pytest.mark.parametrize("case", BAD_SEEDS)
@pytest.mark.parametrize("command", ["expand", "score", "select"])
def test_bad_seeds_end_in_one_message(tmp_path: Path, command: str, case: str) -> None:
    name, content, said = BAD_SEEDS[case]
    path = tmp_path / name
    path.write_bytes(content())
    message = refused(*_with_out(command, tmp_path, path))
    assert said in message
    assert str(path) in message
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("command", ["expand", "score", "select"])
def test_missing_seeds_end_in_one_message(tmp_path: Path, command: str) -> None:
    for name, said in (
        ("missing.jsonl", "does not exist; check the path"),
        ("*.jsonl", "no file matches"),
    ):
        message = refused(*_with_out(command, tmp_path, tmp_path / name))
        assert f"{tmp_path / name}" in message
        assert said in message
    assert list(tmp_path.iterdir()) == []


def _with_out(command: str, folder: Path, *arguments: str | Path) -> list[str | Path]:
    if command == "expand":
        return ["expand", *arguments, "--out", folder / "run"]
    extra = ["--keep-worst", "20%"] if command == "select" else []
    return [command, *arguments, *extra, "--out", folder / "result.parquet"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = seamaug_says("--debug", *_with_out("score", tmp_path, tmp_path / "missing.jsonl"))
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.output
    assert "InputError" in result.output
    done = subprocess.run(
        [sys.executable, "-m", "seamaug.cli", "--debug", "show", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "RunFolderError" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["expand", "--budget", "0"], "below one example"),
        (["expand", "--budget", "-1"], "not a number of examples"),
        (["expand", "--budget", "abc"], "such as 500, 10k or 1.5M"),
        (["expand", "--budget", "9" * 400], "too large"),
        (["expand", "--budget", "20 EUR"], "or 5M tokens or 20 USD"),
        (["expand", "--budget", "5M", "tokens"], "a budget of two words needs quotes"),
        (["expand", "--max-time", "soon"], "such as 90s, 30m, 2h"),
        (["expand", "--seed", "x"], "not a valid integer"),
        (["expand", "--column", "prompt"], "FIELD=NAME"),
        (["expand", "--column", "promt=q"], "one of prompt, golden, worse"),
        (["expand", "--bugdet", "5"], "No such option"),
        (["score"], "Missing option '--out'"),
        (["select", "--out", "x.csv"], "give one of --drop-worst and --keep-worst"),
        (
            ["select", "--drop-worst", "20%", "--keep-worst", "20%", "--out", "x.csv"],
            "give one of --drop-worst and --keep-worst",
        ),
        (["select", "--drop-worst", "0", "--out", "x.csv"], "out of range"),
        (["select", "--drop-worst", "120%", "--out", "x.csv"], "out of range"),
        (["select", "--keep-worst", "most", "--out", "x.csv"], "such as 20% or 0.2"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(*arguments, code=2)
    assert said in " ".join(message.split())
    assert list(tmp_path.iterdir()) == []


def test_a_mapped_column_that_is_missing(tmp_path: Path, seeds: Path) -> None:
    message = refused("expand", seeds, "--column", "golden=best", "--out", tmp_path / "run")
    assert "there is no column 'best' (mapped to golden); the columns are chosen, id" in message


def test_columns_are_mapped_by_flags_and_by_config(tmp_path: Path) -> None:
    rows = [{"q": r["prompt"], "good": r["chosen"], "n": 1} for r in short_seeds(6)]
    path = write_rows(tmp_path / "qa.jsonl", rows)
    flags = ["--column", "prompt=q", "--column", "golden=good"]
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert seamaug_says("score", path, *flags, "--out", first).exit_code == 0
    config = tmp_path / "c.yaml"
    config.write_text("seeds: {columns: {prompt: q, golden: good}}\n")
    assert seamaug_says("score", path, "--config", config, "--out", second).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    assert [row["golden"] for row in read_rows(first)] == [row["good"] for row in rows]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bugdet: 5", "unknown key `bugdet`; did you mean `budget`?"),
        ("score: {contrast: {hihg: 1}}", "unknown key `score.contrast.hihg`; did you mean"),
        ("budget: lots", "`budget`: budget 'lots' is not a number of examples"),
        ("[1", "is not valid YAML"),
    ],
)
@pytest.mark.parametrize("command", ["expand", "score", "select"])
def test_a_bad_config_ends_in_one_message(
    tmp_path: Path, seeds: Path, command: str, text: str, said: str
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    message = refused(*_with_out(command, tmp_path, seeds, "--config", config))
    assert f"{config}" in message
    assert said in message
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_a_missing_config_names_the_recipes(tmp_path: Path, seeds: Path) -> None:
    message = refused("expand", seeds, "--config", "smal", "--out", tmp_path / "run")
    assert "config file smal does not exist; shipped recipes are paper, small" in message


@pytest.mark.parametrize("role", ["policy", "reward", "embedder", "generator"])
def test_an_unknown_model_folder_is_named_before_any_work(
    tmp_path: Path, seeds: Path, role: str
) -> None:
    missing = tmp_path / "no-model"
    message = refused("expand", seeds, f"--{role}", missing, "--out", tmp_path / "run")
    assert f"{role} model: there is no folder {missing}" in message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_hub_id_is_named(tmp_path: Path, seeds: Path) -> None:
    out = tmp_path / "result.csv"
    message = refused("score", seeds, "--policy", "no-such-owner/no-such-model", "--out", out)
    assert "policy model 'no-such-owner/no-such-model'" in message
    assert not out.exists()


def _changed_model(folder: Path, role: str, name: str, change: dict[str, Any]) -> Path:
    shutil.copytree(shipped("embedded", role), folder / role)
    path = folder / role / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder / role


def test_a_reward_model_with_two_labels_is_refused(tmp_path: Path, seeds: Path) -> None:
    labels = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    model = _changed_model(tmp_path, "reward", "config.json", labels)
    message = refused("score", seeds, "--reward", model, "--out", tmp_path / "result.csv")
    assert f"reward model '{model}' has 2 labels" in message
    assert not (tmp_path / "result.csv").exists()


def test_a_policy_without_chat_template_says_how_to_give_one(tmp_path: Path, seeds: Path) -> None:
    model = _changed_model(tmp_path, "policy", "tokenizer_config.json", {})
    (model / "chat_template.jinja").unlink()
    out = tmp_path / "result.jsonl"
    message = refused("score", seeds, "--policy", model, "--out", out)
    assert "has no chat template; set `policy.chat_template`" in message
    assert not out.exists()

    config = tmp_path / "c.yaml"
    config.write_text("policy: {chat_template: question_answer}\n")
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / "result.jsonl"
    result = seamaug_says("score", seeds, "--policy", model, "--config", config, "--out", again)
    assert result.exit_code == 0, result.output
    assert len(read_rows(again)) == 12


def test_a_policy_without_pad_token_scores_the_same(tmp_path: Path, seeds: Path) -> None:
    model = _changed_model(tmp_path, "policy", "tokenizer_config.json", {"pad_token": None})
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "pad_token_id": None}))
    scored = []
    for name, extra in (("a.jsonl", []), ("b.jsonl", ["--policy", model])):
        result = seamaug_says("score", seeds, *extra, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        scored.append([row["seam"] for row in read_rows(tmp_path / name)])
    assert scored[0] == pytest.approx(scored[1])


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_score_writes_one_row_per_seed(tmp_path: Path, seeds: Path, suffix: str) -> None:
    out = tmp_path / f"scores{suffix}"
    result = seamaug_says("score", seeds, "--out", out)
    assert result.exit_code == 0, result.output
    assert "12 seeds scored, 0 failed" in " ".join(result.stdout.split())
    rows = read_rows(out)
    assert list(rows[0]) == SCORE_COLUMNS
    assert [row["golden"] for row in rows] == [row["chosen"] for row in short_seeds()]
    assert [row["where"] for row in rows] == [f"{seeds}:{i}" for i in range(1, 13)]
    for name in ("seam", "contrast_seam_paper", "contrast_hack_rate"):
        values = [float(row[name]) for row in rows]
        assert min(values) >= 0
        assert max(values) > 0
    assert all(0 <= float(row["contrast_hack_rate"]) <= 1 for row in rows)
    assert not any(row["error"] for row in rows)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]  # nothing left to resume from


def test_a_result_that_exists_is_kept(tmp_path: Path, seeds: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("precious")
    for command in (["score"], ["select", "--drop-worst", "20%"]):
        message = refused(*command, seeds, "--out", out)
        assert f"--out {out} exists; choose another name or remove it" in message
    assert out.read_text() == "precious"
    other = refused("score", seeds, "--out", tmp_path / "scores.txt")
    assert "must end in one of .parquet, .jsonl, .csv" in other


def test_select_parts_the_rows(tmp_path: Path, seeds: Path) -> None:
    rows = short_seeds()
    dropped, kept = tmp_path / "dropped.jsonl", tmp_path / "kept.jsonl"
    result = seamaug_says("select", seeds, "--drop-worst", "25%", "--out", dropped)
    assert result.exit_code == 0
    assert result.stdout == f"9 rows in {dropped}\n"
    assert seamaug_says("select", seeds, "--keep-worst", "25%", "--out", kept).exit_code == 0
    good, worst = read_rows(dropped), read_rows(kept)
    assert (len(good), len(worst)) == (9, 3)
    assert good == [row for row in rows if row in good]  # columns and order are the input's
    assert worst == [row for row in rows if row in worst]
    assert all(row in good or row in worst for row in rows)

    scores = tmp_path / "scores.jsonl"
    assert seamaug_says("score", seeds, "--out", scores).exit_code == 0
    seam = {row["golden"]: row["seam"] for row in read_rows(scores)}
    assert min(seam[r["chosen"]] for r in worst) >= max(seam[r["chosen"]] for r in good)


def test_rows_that_share_a_prompt_are_selected_together(tmp_path: Path) -> None:
    rows = short_seeds(8)
    twice = [*rows, *({**row, "rejected": "something else", "id": "copy"} for row in rows)]
    path = write_rows(tmp_path / "twice.jsonl", twice)
    out = tmp_path / "worst.csv"
    assert seamaug_says("select", path, "--keep-worst", "25%", "--out", out).exit_code == 0
    found = [row["prompt"] for row in read_rows(out)]
    assert len(found) == 4
    assert found[:2] == found[2:]
    assert len(set(found)) == 2


def test_show_of_a_finished_run(finished: Path) -> None:
    result = seamaug_says("show", finished, "--examples", "2")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "5 of 5 examples kept (100%): budget met" in shown
    assert "rows read 12" in shown
    assert shown.count("before:") == shown.count("after:") == 2


def test_show_of_what_is_no_finished_run(tmp_path: Path, finished: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        message = refused("show", folder)
        assert f"{folder} is not a run folder that `seamaug expand` wrote" in message
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in refused("show", file)
    shutil.copytree(finished / "stages", tmp_path / "unfinished" / "stages")
    message = refused("show", tmp_path / "unfinished")
    assert "is not finished: run its expand command again to resume it" in message
    (tmp_path / "unfinished" / "run.json").write_text("{")
    assert "run.json cannot be read" in refused("show", tmp_path / "unfinished")


def test_a_million_characters_fail_alone_and_are_counted(tmp_path: Path) -> None:
    rows = short_seeds()
    path = write_rows(
        tmp_path / "seeds.jsonl",
        [*rows[:6], {**rows[0], "prompt": "word " * 200_000}, *rows[6:]],
    )
    run = tmp_path / "run"
    result = seamaug_says("expand", path, "--budget", "5", "--out", run)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "seeds.jsonl:7: not scored (contrast): too long for the policy: " in said
    assert "1 of 13 seeds were not scored" in said
    counts = summary_of(run)["counts"]
    assert counts["rows"] == counts["seeds"]["total"] == 13
    assert (counts["seeds"]["scored"], counts["seeds"]["failed"]) == (12, 1)
    made = counts["candidates"]
    assert made["kept"] == 5
    assert made["total"] == 5 + sum(made["rejected"].values()) + sum(made["failed"].values())


def test_duplicate_prompts_are_merged_and_counted(tmp_path: Path) -> None:
    rows = short_seeds(6)
    path = write_rows(tmp_path / "seeds.jsonl", [*rows, *rows[:2]])
    result = seamaug_says("expand", path, "--budget", "2", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "2 of 8 rows share a prompt with an earlier row" in " ".join(result.stderr.split())
    counts = summary_of(tmp_path / "run")["counts"]
    assert (counts["rows"], counts["merged"], counts["seeds"]["total"]) == (8, 2, 6)


def test_three_seeds_are_enough(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "seeds.jsonl", short_seeds(3))
    result = seamaug_says("expand", path, "--budget", "1", "--out", tmp_path / "run")
    assert result.exit_code in (0, 3), result.output
    assert summary_of(tmp_path / "run")["counts"]["seeds"]["scored"] == 3


def test_a_budget_that_cannot_be_filled_ends_with_3_and_the_truth(
    tmp_path: Path, seeds: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("generate: {per_parent: 4}\n")
    run = tmp_path / "run"
    result = seamaug_says("expand", seeds, "--config", config, "--budget", "1k", "--out", run)
    assert result.exit_code == 3, result.output
    summary = summary_of(run)
    kept = summary["counts"]["candidates"]["kept"]
    assert 0 < kept < 1000
    assert summary["outcome"] == "candidates ran out"
    assert f"{kept} of 1,000 examples kept" in result.stdout
    assert "candidates ran out" in result.stdout
    assert pq.read_table(run / "preference/train.parquet").num_rows == kept


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = seamaug_says("expand", seeds, "--budget", "5", "--dry-run", "--pilot", "20")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "12 rows, 12 different prompts, 3 selected, 5 to keep" in said
    assert re.search(r"Of \d+ candidates of a pilot \d+% were kept \(95 % interval", said)
    assert re.search(r"look ahead [1-9]", said), "its features take time too"
    assert "Nothing was written." in said
    assert list(tmp_path.iterdir()) == []


def test_quiet_says_only_the_result(tmp_path: Path, seeds: Path) -> None:
    loud = seamaug_says("expand", seeds, "--budget", "2", "--out", tmp_path / "a")
    quiet = seamaug_says("--quiet", "expand", seeds, "--budget", "2", "--out", tmp_path / "b")
    assert "score-contrast: 12 seeds" in loud.stderr
    assert "score-contrast: 12 seeds" not in quiet.stderr
    assert "2 of 2 examples kept" in quiet.stdout


@pytest.mark.parametrize("command", ["expand", "score", "select"])
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, command, interrupted)
    result = seamaug_says(*_with_out(command, tmp_path))
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "the same command resumes" in result.stderr


def test_sigterm_ends_with_143_as_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(api, "expand", terminated)
    result = seamaug_says(*_with_out("expand", tmp_path))
    assert result.exit_code == 143
    assert "terminated: what was finished is kept; the same command resumes" in result.stderr
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_out_of_memory_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(api, "expand", fail)
    result = seamaug_says(*_with_out("expand", tmp_path))
    assert result.exit_code == 1
    assert "error: memory ran out (" in result.stderr
    assert "`policy.batch_tokens`" in result.stderr


def _limited_expand(seeds: Path, out: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """`seamaug expand` where no file can grow beyond `limit` bytes, as on a full disk."""

    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "seamaug.cli", "expand", seeds, "--budget", "5", "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=shrink,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("stopped", ["a stage", "the datasets"])
def test_a_full_disk_loses_nothing(
    tmp_path: Path, seeds: Path, finished: Path, stopped: str
) -> None:
    run = tmp_path / "run"
    stored = (".parquet", ".npy")
    if stopped == "a stage":
        before = [finished / "stages/identity.json", *(finished / "stages/embed").iterdir()]
        limit = max(path.stat().st_size for path in before)
    else:
        shutil.copytree(finished, run)
        for name in (*OUTPUTS, "run.json"):
            (run / name).unlink()
        limit = (finished / "provenance.parquet").stat().st_size - 1

    done = _limited_expand(seeds, run, limit)
    assert done.returncode == 1, done.stderr
    assert "error: cannot write " in done.stderr
    assert "the file-size limit is reached" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    left = [path for path in run.rglob("*") if path.is_file()]
    assert not (run / "run.json").exists()
    assert not [path for path in left if path.name.endswith(".tmp")]
    stages = {path.parent.name for path in left if path.suffix in stored}
    assert "embed" in stages
    assert ("score-contrast" in stages) == (stopped == "the datasets")
    assert ("candidates" in stages) == (stopped == "the datasets")
    readable = [pq.read_table(path).num_rows for path in left if path.suffix == ".parquet"]
    assert all(readable)
    assert "is not finished" in refused("show", run)

    again = seamaug_says("expand", seeds, "--budget", "5", "--out", run)
    assert again.exit_code == 0, again.output
    for name in OUTPUTS:
        assert (run / name).read_bytes() == (finished / name).read_bytes(), name
