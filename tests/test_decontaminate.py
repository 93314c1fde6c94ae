"""Verification through the whole flow: evaluation files, duplicates, a user's checker, resuming."""

import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seamaug import expand
from seamaug.cli import main
from seamaug.config import SeedsConfig, VerifyConfig
from seamaug.decontaminate import Decontamination
from seamaug.errors import ConfigError, InputError, RunFolderError
from seamaug.records import user_message
from seamaug.seeds import read_seeds
from seamaug.verify.contamination import EvaluationTexts, Place

Rows = list[dict[str, Any]]
SETTINGS: dict[str, Any] = {
    "score.batch_seeds": 8,
    "score.samples": 6,
    "select.share": 0.5,
    "generate.batch_parents": 2,
    "generate.per_round": 4,
    "generate.policy_max_new_tokens": 8,
    "verify.ngram": 8,
    "verify.duplicates": {"near": 0.8, "semantic": 0.9},
}
BUDGET = 24
OUTPUTS = ("README.md", "provenance.parquet", "contamination.parquet", "preference/train.parquet")


@pytest.fixture(scope="module")
def seeds(bundled: Callable[[int], Rows]) -> Rows:
    return bundled(24)


@pytest.fixture(scope="module")
def evaluation(seeds: Rows, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two prompts in disguise, the golden response of a third, and nothing of the others."""
    folder = tmp_path_factory.mktemp("evaluation")
    long = [row for row in seeds if len(row["prompt"].split()) >= 8]
    answers = [row for row in seeds if len(row["chosen"].split()) >= 8 and row not in long[:2]]
    disguised = [row["prompt"].upper().replace(" ", " - ") for row in long[:2]]
    (folder / "one.jsonl").write_text("".join(json.dumps({"q": text}) + "\n" for text in disguised))
    (folder / "two.txt").write_text(
        "nothing in common\nBy the way, " + " ".join(answers[0]["chosen"].split()) + "\n"
    )
    return [str(folder / "one.jsonl"), str(folder / "two.txt")]


@pytest.fixture(scope="module")
def finished(seeds: Rows, evaluation: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return expand(seeds, budget=BUDGET, out=out, decontaminate=evaluation, settings=SETTINGS)


def report(run: Any) -> Rows:
    rows: Rows = pq.read_table(run.path / "contamination.parquet").to_pylist()
    return rows


def test_seeds_that_overlap_are_reported_with_place_and_words(
    finished: Any, seeds: Rows, evaluation: list[str]
) -> None:
    found = [row for row in report(finished) if row["kind"] == "seed"]
    prompts = [row for row in found if row["part"] == "prompt"]
    assert {row["row"] for row in prompts if row["file"] == evaluation[0]} == {"1", "2"}
    assert any(
        r["part"] == "chosen" and (r["file"], r["row"]) == (evaluation[1], "2") for r in found
    )
    for row in found:
        number = int(row["where"].removeprefix("row ")) - 1
        text = seeds[number]["prompt" if row["part"] == "prompt" else "chosen"]
        assert row["words"].split()[0] in text.lower()
    assert finished.summary["counts"]["seeds"]["contaminated"] == len({r["id"] for r in found})
    parents = set(finished.provenance["parent"])
    assert not parents & {row["id"] for row in found}


def test_the_counts_sum_and_the_run_says_what_it_was_checked_against(finished: Any) -> None:
    counts = finished.summary["counts"]["candidates"]
    verdicts = Counter(finished.provenance["verdict"])
    assert sum(verdicts.values()) == counts["total"]
    assert verdicts["rejected"] == sum(counts["rejected"].values())
    assert counts["rejected"]["near duplicate"] > 0
    assert finished.summary["decontamination"] == {
        "files": ["one.jsonl", "two.txt"], "rows": 4, "ngram": 8,
    }  # fmt: skip
    assert (
        "| decontaminated against | one.jsonl, two.txt: 4 rows"
        in (finished.path / "README.md").read_text()
    )


def test_every_label_says_what_vouches_for_it(finished: Any) -> None:
    for row in finished.provenance:
        if row["verdict"] != "kept":
            continue
        constructed = row["verifier"] in ("given", "other prompt")
        assert (row["verifier_score"] is None) == constructed
        if row["verifier"] == "reference overlap":
            assert 0 <= row["verifier_score"] < 0.5


def test_a_paused_and_resumed_run_ends_with_the_same_bytes(
    finished: Any, seeds: Rows, evaluation: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments: dict[str, Any] = {
        "budget": BUDGET, "out": out, "decontaminate": evaluation, "settings": SETTINGS,
    }  # fmt: skip
    whole = len(list((finished.path / "stages" / "candidates").glob("*.parquet")))
    expand(seeds, max_time=0.001, **arguments)
    for number in range(whole):  # as if killed after each part
        stage = out / "stages" / "candidates"
        stage.mkdir(exist_ok=True)
        part = f"{number:05d}.parquet"
        (stage / part).write_bytes((finished.path / "stages" / "candidates" / part).read_bytes())
        if number == whole // 2:
            break
    expand(seeds, **arguments)
    for name in OUTPUTS:
        assert (out / name).read_bytes() == (finished.path / name).read_bytes()


def test_other_evaluation_texts_are_another_run_and_another_path_is_not(
    finished: Any, seeds: Rows, evaluation: list[str], tmp_path: Path
) -> None:
    moved = []
    for name in evaluation:
        moved.append(str(tmp_path / Path(name).name))
        Path(moved[-1]).write_bytes(Path(name).read_bytes())
    again = expand(seeds, budget=BUDGET, out=finished.path, decontaminate=moved, settings=SETTINGS)
    assert again.summary == finished.summary
    Path(moved[1]).write_text("something else\n")
    with pytest.raises(RunFolderError, match="evaluation: "):
        expand(seeds, budget=BUDGET, out=finished.path, decontaminate=moved, settings=SETTINGS)
    with pytest.raises(RunFolderError, match="evaluation: "):
        expand(seeds, budget=BUDGET, out=finished.path, settings=SETTINGS)


def test_a_missing_file_is_an_error_before_any_work(tmp_path: Path, seeds: Rows) -> None:
    with pytest.raises(InputError, match=r"no evaluation file gone\.jsonl"):
        expand(seeds, out=tmp_path / "run", decontaminate="gone.jsonl")
    result = CliRunner().invoke(
        main, ["expand", "--out", str(tmp_path / "run"), "--decontaminate", "gone.jsonl"]
    )
    assert result.exit_code == 1
    assert "there is no evaluation file gone.jsonl; check the path" in result.output
    assert not (tmp_path / "run").exists()


def test_contaminated_candidates_are_reported(seeds: Rows, tmp_path: Path) -> None:
    """An operator's own words make the overlap: they stand in no seed."""
    plain = expand(
        seeds, budget=12, out=tmp_path / "plain",
        settings={**SETTINGS, "generate.operators": ["framing", "closing"]},
    )  # fmt: skip
    kept = [row for row in plain.provenance if row["verdict"] == "kept"]
    texts = [row["prompt"][-1]["content"] for row in kept]
    target = max(texts, key=lambda text: len(text.split()))
    # The last words of a variant: what was added to it, with some of the prompt before.
    (tmp_path / "e.txt").write_text(" ".join(target.split()[-8:]) + "\n")
    run = expand(
        seeds, budget=12, out=tmp_path / "clean", decontaminate=str(tmp_path / "e.txt"),
        settings={**SETTINGS, "generate.operators": ["framing", "closing"]},
    )  # fmt: skip
    left_out = [row for row in run.provenance if row["reason"] == "contaminated"]
    told = [row for row in report(run) if row["kind"] == "candidate"]
    seeds_told = [row for row in report(run) if row["kind"] == "seed"]
    assert left_out
    assert not seeds_told
    assert {row["id"] for row in told} == {row["id"] for row in left_out}
    assert run.summary["counts"]["candidates"]["rejected"].get("contaminated", 0) == len(left_out)
    assert target not in [
        row["prompt"][-1]["content"] for row in run.provenance if row["verdict"] == "kept"
    ]


def test_the_report_holds_few_rows_in_memory(seeds: Rows, tmp_path: Path) -> None:
    """However many candidates are contaminated: parts come one by one, and so do their rows."""
    evaluation = EvaluationTexts([(Place("e.txt", "1"), "a b c d e f g h")], 8)
    own = Decontamination(
        VerifyConfig(decontaminate=("e.txt",)), evaluation, read_seeds(SeedsConfig(), seeds)
    )
    one = {
        "id": "x" * 32, "prompt": user_message("A b c d e f g h?"), "chosen": "yes",
        "rejected": "no", "reason": "contaminated",
    }  # fmt: skip
    part = pa.Table.from_pylist([one] * 256)

    def peak(parts: int) -> int:
        tracemalloc.start()
        own.write_report(tmp_path, (part for _ in range(parts)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pq.read_metadata(tmp_path / "contamination.parquet").num_rows == 256 * parts
        return found

    assert peak(40) < 1.5 * peak(8)


# --- verifiers of a user


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_checks.py").write_text(
        "def shorter(prompt, response, golden):\n    return -float(len(response))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_checks:shorter"
    sys.modules.pop("my_checks", None)


def test_a_user_s_checker_vouches_in_parents_and_on_policy_alike(
    seeds: Rows, tmp_path: Path, checker: str
) -> None:
    settings = {
        **SETTINGS,
        "verify.worse": {"by": ["function"], "function": checker},
        "score.estimators": ["on-policy"],
        "score.on_policy.max_new_tokens": 4,
        "generate.worse": ["policy", "scored"],
        "generate.policy_max_new_tokens": 64,
    }
    run = expand(seeds, budget=4, out=tmp_path / "run", settings=settings)
    stages = tmp_path / "run" / "stages"
    for stage in ("parents", "score-on-policy"):
        rows = [
            row
            for path in (stages / stage).glob("*.parquet")
            for row in pq.read_table(path).to_pylist()
        ]
        assert any(row["verifiers"] for row in rows)
        assert {name for row in rows for name in row["verifiers"]} == {checker}
        assert all(score > 0 for row in rows for score in row["verifier_scores"])
    for row in run.provenance:
        if row["verdict"] == "kept":
            assert row["verifier_score"] == len(row["rejected"]) - len(row["chosen"])
    (tmp_path / "my_checks.py").write_text("def shorter(*a):\n    return 0\n")
    sys.modules.pop("my_checks")
    with pytest.raises(RunFolderError, match="function: "):
        expand(seeds, budget=4, out=tmp_path / "run", settings=settings)


def test_a_checker_that_cannot_be_imported_is_an_error_before_any_work(
    seeds: Rows, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "verify.worse": {"by": "function", "function": "no_such:thing"}}
    with pytest.raises(ConfigError, match="no_such:thing cannot be imported"):
        expand(seeds, out=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
