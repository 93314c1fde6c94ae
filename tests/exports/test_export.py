"""What `export` refuses, and that a folder is there whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from seamaug import export
from seamaug.errors import ConfigError, InputError, RunFolderError
from seamaug.exports import writer
from seamaug.exports.example import kept_examples
from seamaug.records import REJECTED
from seamaug.run.folder import whole_folder
from seamaug.run.seal import seal

Make = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_only_kept_candidates_in_the_order_of_the_datasets(run: Path) -> None:
    (done,) = export(run, to=["trl"])
    assert done.path == run / "exports" / "trl"
    for form in ("sft", "preference"):
        canonical = pq.read_table(run / form / "train.parquet").to_pylist()
        assert pq.read_table(done.path / form / "train.parquet").to_pylist() == canonical


def test_the_same_call_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Seed {n}?", "chosen": "yes", "rejected": "no"} for n in range(300)]
    first, second = (
        export(run, to="axolotl", out=tmp_path / name, merge_with=rows, ratio="1:1")[0]
        for name in ("first", "second")
    )
    assert contents(first.path) == contents(second.path)


def test_memory_holds_a_chunk_of_rows_whose_size_changes_no_row(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = export(run, to="trl", out=tmp_path / "whole")
    largest = 0
    write = writer._Table.write

    def measured(table: Any, rows: list[Any]) -> None:
        nonlocal largest
        largest = max(largest, len(rows))
        write(table, rows)

    monkeypatch.setattr(writer, "_CHUNK", 7)
    monkeypatch.setattr(writer._Table, "write", measured)
    (parts,) = export(run, to="trl", out=tmp_path / "parts")
    assert largest == 7
    for form in ("sft", "preference", "dpo", "prompts"):
        first, second = (
            pq.read_table(done.path / form / "train.parquet") for done in (whole, parts)
        )
        assert first.equals(second)
    first, second = (
        sorted(map(repr, pq.read_table(done.path / "kto" / "train.parquet").to_pylist()))
        for done in (whole, parts)
    )
    assert first == second


def test_load_dataset_opens_each_form_by_name(run: Path, tmp_path: Path) -> None:
    for done in export(run, to="trl,openrlhf,verl,llamafactory,axolotl", validation="20%"):
        for form in {file.split("/")[0] for file in done.rows}:
            found = datasets.load_dataset(str(done.path), form, cache_dir=str(tmp_path / "cache"))
            counts = {f"{form}/{side}.parquet": len(rows) for side, rows in found.items()}
            assert counts == {
                file: sum(sources.values())
                for file, sources in done.rows.items()
                if file.startswith(f"{form}/")
            }


def test_margin_is_the_judges_mu_and_on_every_row(finished: Make, candidate: Make) -> None:
    voted = [candidate(n, mu=n / 4, sigma=1.0, margin_after=99.0) for n in range(8)]
    run = finished("run", voted)
    for done in export(run, to="trl,openrlhf", margin=True):
        rows = pq.read_table(done.path / "preference" / "train.parquet").to_pylist()
        assert [row["margin"] for row in rows] == [n / 4 for n in range(8)]
        assert "margin" not in pq.read_schema(done.path / "sft" / "train.parquet").names
    assert "--model.margin_loss_enable" in (done.path / "reward.sh").read_text(encoding="utf-8")
    (done,) = export(run, to="openrlhf", out=run.parent / "plain")
    assert "margin" not in pq.read_schema(done.path / "preference" / "train.parquet").names
    assert "margin" not in (done.path / "reward.sh").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="verl reads no margin"):
        export(run, to="verl", margin=True)
    mixed = finished("mixed", [*voted, candidate(9)])
    with pytest.raises(ConfigError, match=r"1 augmented examples have no margin.*expand --judge"):
        export(mixed, to="trl", margin=True)


def test_original_rows_bring_their_own_margin(finished: Make, candidate: Make) -> None:
    run = finished("run", [candidate(n, mu=2.0, sigma=1.0) for n in range(3)])
    original = [
        {"prompt": f"Old {n}?", "chosen": "Yes.", "rejected": "No.", "margin": -n} for n in range(3)
    ]
    alone = {"prompt": "No preference?", "response": "Right."}  # needs no margin
    (done,) = export(run, to="trl", margin=True, merge_with=[*original, alone])
    rows = pq.read_table(done.path / "preference" / "train.parquet").to_pylist()
    found = {row["chosen"][0]["content"]: row["margin"] for row in rows}
    assert found == {f"Question {n}?": 2.0 for n in range(3)} | {f"Old {n}?": -n for n in range(3)}
    bare = [*original, {"prompt": "Old 4?", "chosen": "Yes.", "rejected": "No."}]
    with pytest.raises(ConfigError, match=r"1 original examples have no margin.*strength --margin"):
        export(run, to="trl", out=run.parent / "x", margin=True, merge_with=bare)
    worded = [{"prompt": "Old?", "chosen": "Yes.", "rejected": "No.", "margin": "wide"}]
    with pytest.raises(InputError, match="field 'margin' must be a number"):
        export(run, to="trl", out=run.parent / "x", margin=True, merge_with=worded)
    export(run, to="trl", out=run.parent / "x", merge_with=worded)  # nobody asks for it


def test_a_run_from_before_there_was_mu_is_exported(finished: Make, candidate: Make) -> None:
    run = finished("run", [candidate(1)])
    file = run / "provenance.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["mu", "sigma"]), file)
    seal(file)
    (done,) = export(run, to="trl")
    assert done.rows["preference/train.parquet"] == {"augmented": 1}


def test_what_is_no_finished_run_is_refused(
    finished: Make, candidate: Make, tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        export(tmp_path / "none", to="trl")
    (tmp_path / "begun" / "stages").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="is not finished: run its expand command again"):
        export(tmp_path / "begun", to="trl")
    empty = finished("empty", [candidate(0, verdict=REJECTED)])
    with pytest.raises(RunFolderError, match="kept no example, so there is nothing to export"):
        export(empty, to="trl")
    run = finished("run", [candidate(0)])
    (run / "provenance.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match=r"provenance.parquet is missing or damaged"):
        export(run, to="trl")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("trll", r"no export format 'trll'; did you mean 'trl'\?"),
        ("trl,nemo", "no export format 'nemo'; known: trl, openrlhf, verl, llamafactory, axolotl"),
        ("../trl", "no export format '../trl'"),
        ("trl/../../x", "no export format 'trl/../../x'"),
        ("", "no export format ''"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(asked: str, message: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        export(run, to=asked)


def test_a_folder_that_holds_something_is_left_alone(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "out" / "verl"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="verl exists and is not empty: choose another --out"):
        export(run, to="trl,verl", out=tmp_path / "out")
    assert contents(tmp_path / "out") == {"verl/mine.txt": b"mine"}
    for inside in (run, run / "sft", run / "exports" / "deep"):
        with pytest.raises(ConfigError, match="lies in the run folder"):
            export(run, to="trl", out=inside)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot write"):
        export(run, to="trl", out=tmp_path / "file")


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_leaves_no_half_export(
    fault: BaseException, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(table: Any, rows: list[Any]) -> None:
        raise fault

    monkeypatch.setattr(writer._Table, "write", fail)
    with pytest.raises((RunFolderError, KeyboardInterrupt)):
        export(run, to="trl")
    assert contents(run / "exports") == {}


def test_a_whole_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for text in ("first", "second"):
        (tmp_path / ".target.tmp").mkdir()  # as a killed process leaves it
        (tmp_path / ".target.tmp" / "stale").write_text("stale", encoding="utf-8")
        with whole_folder(target) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / text).write_text(text, encoding="utf-8")
        assert contents(target) == {f"deep/{text}": text.encode()}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_settings_of_the_original_data_need_it(run: Path) -> None:
    for given in ({"ratio": "1:1"}, {"settings": {"seeds.split": "test"}}):
        with pytest.raises(ConfigError, match="give --merge-with"):
            export(run, to="trl", **given)  # type: ignore[arg-type]


def test_margin_after_of_the_model_under_test_is_no_margin(finished: Make, candidate: Make) -> None:
    run = finished("run", [candidate(0, margin_after=1.5)])
    (example,) = kept_examples(run / "provenance.parquet")
    assert example.margin is None
