"""The whole flow on a few seeds with the embedded models: counts, outputs, resume."""

import gzip
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seamaug import expand, select
from seamaug.api import plan
from seamaug.clusters import cluster
from seamaug.errors import InputError
from seamaug.models.generation import TIME_UP
from seamaug.rescoring import Rescoring
from seamaug.resources import resource
from seamaug.rounds import RAN_OUT, SATURATED
from seamaug.target import BUDGET_MET

# Small parts, so that a run has many of them.
SMALL = {
    "score.batch_seeds": 8,
    "score.samples": 6,
    "select.share": 0.3,
    "generate.batch_parents": 2,
    "generate.per_round": 3,
    "generate.policy_max_new_tokens": 8,
}
BUDGET = 24
OUTPUTS = (
    "README.md",
    "provenance.parquet",
    "sft/train.parquet",
    "preference/train.parquet",
    "prompts/train.parquet",
)


def bundled(count: int) -> list[dict[str, Any]]:
    """Short bundled seeds from all over the file."""
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if len(row["prompt"]) + len(row["chosen"]) < 300]
    return short[:: len(short) // count][:count]


@pytest.fixture(scope="module")
def seeds_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in bundled(36)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(seeds_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return expand(str(seeds_file), budget=BUDGET, out=out, settings=SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def test_counts_add_up_and_are_those_of_the_files(finished: Any) -> None:
    counts = finished.summary["counts"]
    assert counts["rows"] == 36
    assert counts["rows"] - counts["merged"] == counts["seeds"]["total"]
    assert counts["seeds"]["scored"] + counts["seeds"]["failed"] == counts["seeds"]["total"]
    candidates = counts["candidates"]
    parts = [candidates["kept"], *candidates["rejected"].values(), *candidates["failed"].values()]
    assert sum(parts) == candidates["total"] == len(finished.provenance)
    verdicts = Counter(finished.provenance["verdict"])
    assert verdicts["kept"] == candidates["kept"] == BUDGET
    assert verdicts["rejected"] == sum(candidates["rejected"].values())
    assert finished.summary["outcome"] == BUDGET_MET


def test_every_kept_example_is_new_valid_and_less_discrepant(
    finished: Any, seeds_file: Path
) -> None:
    originals = {json.loads(line)["prompt"] for line in seeds_file.read_text().splitlines()}
    kept = [row for row in finished.provenance if row["verdict"] == "kept"]
    texts = [row["prompt"][-1]["content"] for row in kept]
    assert len(set(texts)) == len(texts)
    assert not originals & set(texts)
    for row in kept:
        assert row["predicted_reduction"] > 0
        assert min(row["seam_after"], row["seam_before"]) >= 0
        assert row["chosen"] != row["rejected"]
        assert row["verifier"]
        assert row["operator"]


def test_what_training_on_the_kept_does_is_foreseen(finished: Any) -> None:
    foreseen = finished.summary["foreseen"]
    first, last = foreseen["curve"][0], foreseen["curve"][-1]
    assert foreseen["rule"] == "lookahead"
    assert (first["kept"], last["kept"]) == (0, BUDGET)
    assert last["seam"] < first["seam"]
    assert last["variance"] >= 0.95 * first["variance"] * (1 - 1e-9)  # keep.variance_tolerance
    assert "step" not in finished.provenance.column_names
    scored = [row for row in finished.provenance if row["seam_after"] is not None]
    assert all(row["predicted_reduction"] is not None for row in scored)
    assert f"{last['seam']:.4f}" in (finished.path / "README.md").read_text(encoding="utf-8")


def test_the_literal_rule_keeps_what_is_less_discrepant(seeds_file: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "keep.rule": "rescore"}
    result = expand(str(seeds_file), budget=8, out=tmp_path / "run", settings=settings)
    kept = [row for row in result.provenance if row["verdict"] == "kept"]
    assert len(kept) == 8
    assert all(row["seam_after"] < row["seam_before"] for row in kept)
    assert all(row["predicted_reduction"] is not None for row in kept)


def test_a_saturated_run_ends(
    seeds_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("seamaug.keep.keeper._WINDOW", 4)
    settings = {**SMALL, "keep.saturation": 0.9}
    result = expand(str(seeds_file), budget=BUDGET, out=tmp_path / "run", settings=settings)
    assert result.summary["outcome"] == SATURATED
    assert 4 <= result.summary["counts"]["candidates"]["kept"] < BUDGET
    count, share = result.summary["foreseen"]["last"]
    assert count >= 4
    assert share < 0.9
    result.show()
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"the last {count} examples lowered SEAM by {share:.1%}: more of them buy nothing" in said
    )
    card = (result.path / "README.md").read_text(encoding="utf-8")
    assert f"the last {count} examples lowered SEAM by {100 * share:.1f} %" in card


def test_the_three_datasets_hold_the_kept_candidates_row_by_row(finished: Any) -> None:
    assert len(finished.sft) == len(finished.preference) == len(finished.prompts) == BUDGET
    for row in finished.provenance:
        if row["verdict"] != "kept":
            assert row["row"] is None
            continue
        prompt = row["prompt"]
        chosen = [*prompt, {"role": "assistant", "content": row["chosen"]}]
        rejected = [*prompt, {"role": "assistant", "content": row["rejected"]}]
        assert finished.sft[row["row"]] == {"messages": chosen}
        assert finished.preference[row["row"]] == {"chosen": chosen, "rejected": rejected}
        assert finished.prompts[row["row"]] == {"prompt": prompt}


def test_the_folder_loads_by_name_with_datasets(finished: Any, tmp_path: Path) -> None:
    from datasets import load_dataset

    for name in ("sft", "preference", "prompts"):
        loaded = load_dataset(str(finished.path), name, split="train", cache_dir=str(tmp_path))
        assert loaded.to_list() == getattr(finished, name).to_list()


def test_run_json_says_what_made_the_run(finished: Any) -> None:
    stored = json.loads((finished.path / "run.json").read_text())
    assert stored["config"]["budget"] == BUDGET
    assert set(stored["models"]) == {"policy", "reward", "embedder", "generator"}
    assert len(stored["models"]["policy"]["fingerprint"]) == 32
    assert {"seamaug", "torch", "transformers"} <= set(stored["versions"])
    assert stored["times"]["score"]["policy"] > 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    finished: Any, seeds_file: Path, tmp_path: Path
) -> None:
    again = expand(str(seeds_file), budget=BUDGET, out=tmp_path / "again", settings=SMALL)
    other = expand(str(seeds_file), budget=BUDGET, out=tmp_path / "other", seed=1, settings=SMALL)
    assert contents(again.path) == contents(finished.path)
    assert contents(other.path)["sft/train.parquet"] != contents(finished.path)["sft/train.parquet"]


def test_a_finished_run_is_left_as_it_is(finished: Any, seeds_file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    again = expand(str(seeds_file), budget=BUDGET, out=finished.path, settings=SMALL)
    assert again.summary == finished.summary
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_candidates_run_out_is_said_and_nothing_is_lost(seeds_file: Path, tmp_path: Path) -> None:
    few = {**SMALL, "generate.operators": ["closing"], "generate.depth": 1, "select.top": 2}
    result = expand(str(seeds_file), budget=5000, out=tmp_path / "run", settings=few)
    counts = result.summary["counts"]["candidates"]
    assert result.summary["outcome"] == RAN_OUT
    assert 0 < counts["kept"] < 5000
    assert len(result.preference) == counts["kept"]


def test_a_time_limit_pauses_and_the_same_command_goes_on(
    finished: Any, seeds_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    paused = expand(str(seeds_file), budget=BUDGET, out=out, settings=SMALL, max_time=0.001)
    assert paused.summary["outcome"] == TIME_UP
    assert len(paused.sft) < BUDGET
    expand(str(seeds_file), budget=BUDGET, out=out, settings=SMALL)
    assert contents(out) == contents(finished.path)


def test_settings_that_say_at_most_mean_it(seeds_file: Path, tmp_path: Path) -> None:
    """Per parent, and per rejected text: ten examples, or the share of the budget if more."""
    settings = {**SMALL, "generate.per_parent": 2, "select.share": 0.9}
    result = expand(str(seeds_file), budget=500, out=tmp_path / "few", settings=settings)
    assert set(Counter(result.provenance["parent"]).values()) <= {1, 2}

    settings = {**SMALL, "select.top": 3, "keep.hack_set_size": 2, "keep.same_rejected": 0.01}
    result = expand(str(seeds_file), budget=200, out=tmp_path / "capped", settings=settings)
    kept = [row["rejected"] for row in result.provenance if row["verdict"] == "kept"]
    assert max(Counter(kept).values()) == 10
    assert result.summary["counts"]["candidates"]["rejected"]["rejected responses used up"] > 0


def test_quotas_hold_exactly(seeds_file: Path, tmp_path: Path) -> None:
    own = {
        "select.share": 0.9,
        "generate.per_round": 6,
        "generate.rounds": 1,
        "keep.rule": "rescore",
        "keep.share": 1.0,
        "keep.variance_tolerance": None,
        "keep.most_per_seed": 3,
        "keep.operator_share": 0.22,
    }
    result = expand(str(seeds_file), budget=60, out=tmp_path / "run", settings={**SMALL, **own})
    vectors = np.load(result.path / "stages" / "embed" / "vectors.npy")
    parents = [
        row
        for file in sorted((result.path / "stages" / "parents").glob("*.parquet"))
        for row in pq.read_table(file, columns=["id", "position"]).to_pylist()
    ]
    clusters = cluster(vectors, [row["position"] for row in parents], seed=0)
    labels = {row["id"]: clusters.labels[row["position"]] for row in parents}
    kept = [row for row in result.provenance if row["verdict"] == "kept"]
    assert max(Counter(row["parent"] for row in kept).values()) == 3
    assert max(Counter(labels[row["parent"]] for row in kept).values()) <= 30  # of 4: twice even
    names = Counter(name for row in kept for name in row["operator"].split("+"))
    assert max(names.values()) <= 14
    assert result.summary["counts"]["candidates"]["rejected"]["quota of its seed"] > 0


def test_what_was_spent_adds_up(finished: Any) -> None:
    spent = finished.summary["spending"]
    tokens = sum(finished.provenance["tokens"])
    fall = sum(
        row["predicted_reduction"] for row in finished.provenance if row["verdict"] == "kept"
    )
    for accounts in (list(spent["operators"].values()), spent["clusters"]):
        assert sum(own["tokens"] for own in accounts) == pytest.approx(tokens)
        assert sum(own["fall"] for own in accounts) == pytest.approx(fall)
        rates = [own["fall_per_1k_tokens"] or 0.0 for own in accounts]
        assert rates == sorted(rates, reverse=True)
    assert sum(own["candidates"] for own in spent["clusters"]) == len(finished.provenance)
    assert sum(own["kept"] for own in spent["clusters"]) == BUDGET
    assert all(row["tokens"] > 0 for row in finished.provenance)


def test_later_rounds_learn_from_earlier_ones(seeds_file: Path, tmp_path: Path) -> None:
    """The first round is the same, whatever comes after."""
    made = {
        name: expand(
            str(seeds_file),
            budget=BUDGET,
            out=tmp_path / name,
            settings={**SMALL, "generate.allocation": name},
        ).provenance
        for name in ("thompson", "uniform")
    }
    first = 3  # of ten rounds for 24
    assert made["thompson"]["id"][:first] == made["uniform"]["id"][:first]
    assert made["thompson"]["id"] != made["uniform"]["id"]


def test_looking_ahead_spends_where_most_is_foreseen_and_resumes_to_the_same_bytes(
    seeds_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, allocation: str) -> Any:
        settings = {**SMALL, "generate.allocation": allocation, "generate.explore": 0.01}
        return expand(str(seeds_file), budget=BUDGET, out=tmp_path / name, settings=settings)

    def stored(name: str) -> dict[str, bytes]:
        folder = tmp_path / name / "stages/candidates"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def parents(made: Any) -> int:
        return len(set(made.provenance["parent"]))

    assert parents(run("ahead", "lookahead")) < parents(run("even", "uniform"))
    calls, cases = [], Rescoring.cases

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return cases(*given)

    monkeypatch.setattr(Rescoring, "cases", stop)
    with pytest.raises(KeyboardInterrupt):
        run("killed", "lookahead")
    monkeypatch.undo()
    assert len(stored("killed")) == 1
    run("killed", "lookahead")
    assert stored("killed") == stored("ahead")


def test_a_pilot_tells_the_yield(seeds_file: Path, tmp_path: Path) -> None:
    own = {**SMALL, "generate.allocation": "uniform"}
    planned = plan(str(seeds_file), budget=100, settings=own, pilot=60)
    counts = expand(str(seeds_file), budget=100, out=tmp_path / "run", settings=own).summary[
        "counts"
    ]["candidates"]
    assert planned.pilot is not None
    assert 40 <= planned.pilot.candidates <= 70
    assert planned.pilot.low <= counts["kept"] / counts["total"] <= planned.pilot.high
    assert planned.pilot.high - planned.pilot.low < 0.6
    assert planned.kept == 100
    assert planned.candidates == math.ceil(100 / planned.pilot.share)


def test_columns_that_only_some_rows_have_are_read_and_survive_selection() -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": row["prompt"], "output": row["chosen"], "input": "Be brief."}
        for row in bundled(10)
    ]
    del rows[0]["input"]
    dropped = select(rows, drop_worst=0.2)
    assert len(dropped) == 8
    assert set(dropped.column_names) == {"instruction", "output", "input"}
    kept = select(rows, keep_worst=0.2)
    found = sorted([*dropped["output"], *kept["output"]])
    assert found == sorted(row["output"] for row in rows)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, 2, "x"], r"str 'x' \(row 3\)"),
        ([1, 2**70, 3], r"too large.* int 1 \(row 1\)"),
        ([[1], None, {"a": 1}], r"list \[1\] \(row 1\), dict {'a': 1} \(row 3\)"),
    ],
)
def test_a_column_that_fits_no_table_is_named_before_anything_is_scored(
    values: list[Any], told: str
) -> None:
    rows = [{**row, "note": value} for row, value in zip(bundled(3), values, strict=True)]
    with pytest.raises(InputError, match=rf"(?s)column 'note' fits no table: .*{told}.*leave the"):
        select(rows, drop_worst=0.2, policy="nowhere/at-all")
