"""The command line with addresses: each command on S3, and what goes wrong in one line."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from seamaug import select, stand_in, train_rm
from seamaug.cli import main
from seamaug.errors import StorageError
from seamaug.storage import Remote
from tests.storage.conftest import SECRET, contents, put_lines

Machine = Callable[[str], Path]


def seamaug(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def done(*arguments: object) -> str:
    result = seamaug(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = seamaug("--quiet", *arguments)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    return result.output


def test_every_command_takes_addresses_and_no_secret_gets_anywhere(
    s3: str, machine: Machine, rows: Any, config: Path, tmp_path: Path, local: dict[str, bytes]
) -> None:
    put_lines(f"{s3}/seeds/a.jsonl", rows[:12])
    put_lines(f"{s3}/seeds/b.jsonl", rows[12:])
    put_lines(f"{s3}/seeds/eval.json", [{"text": rows[3]["prompt"]}])
    seeds, run, said = f"{s3}/seeds/*.jsonl", f"{s3}/runs/mine", []
    own = ("--config", config)
    said.append(done("expand", seeds, *own, "--budget", 8, "--out", run, "--formats", "trl"))
    assert f"Datasets in {run}" in said[0]
    assert {name: contents(run)[name] for name in local} == local
    assert "exports/trl/preference/train.parquet" in contents(run)
    cache = machine("second")
    said.append(done("show", run))
    assert "8 of 8 examples kept" in said[-1]
    assert "before:" in said[-1]
    said.append(done("report", run))
    assert b"<html" in contents(run)["report.html"]
    said.append(done("export", run, "--to", "verl", "--merge-with", seeds, "--out", f"{s3}/data"))
    merged = pq.read_table(io.BytesIO(contents(f"{s3}/data/verl")["prompts/train.parquet"]))
    assert merged.num_rows == 8 + 24
    assert "is not empty" in refused("export", run, "--to", "verl", "--out", f"{s3}/data")
    scores = f"{s3}/scores.parquet"
    said.append(done("score", seeds, *own, "--out", scores, "--responses", f"{s3}/r.jsonl"))
    assert "24 seeds scored" in said[-1]
    assert {"scores.parquet", "r.jsonl"} <= contents(s3).keys()
    assert not [name for name in contents(s3) if ".work" in name]
    assert "exists" in refused("score", seeds, *own, "--out", scores)
    said.append(done("select", seeds, "--scores", scores, "--drop-worst", "20%", "--out",
                     f"{s3}/rest.jsonl"))  # fmt: skip
    lines = contents(s3)["rest.jsonl"].splitlines()
    assert [json.loads(line) for line in lines] == list(select(rows, scores=scores, drop_worst=0.2))
    files = [*contents(s3).values(), *(p.read_bytes() for p in cache.rglob("*") if p.is_file())]
    for text in [*said, *(content.decode("latin-1") for content in files)]:
        assert SECRET not in text


def test_evaluation_files_come_from_a_store_as_well(memory: str, rows: Any, tmp_path: Path) -> None:
    from seamaug.seeds.texts import read_texts

    put_lines(f"{memory}/eval/a.jsonl", [{"text": "one"}])
    put_lines(f"{memory}/eval/b.txt", [{"line": "two"}])
    found = list(read_texts([f"{memory}/eval/*"]))
    assert [(path.rsplit("/", 1)[1], row, text.strip()) for path, row, text in found] == [
        ("a.jsonl", "1", "one"),
        ("b.txt", "1", '{"line": "two"}'),
    ]


def test_what_is_wrong_with_an_address_is_said_in_one_line(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = ("show",)
    assert "there is nothing at s3://bucket/none; check the address" in refused(*show, f"{s3}/none")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "pip install gcsfs" in refused(*show, "gs://bucket/run")
    assert "foo://bucket/run: Protocol not known: foo: no file system" in refused(
        *show, "foo://bucket/run"
    )
    said = refused("score", "https://host/s.csv", "--out", "x.csv")
    assert "web servers are not read from; download it first" in said
    assert 'give an address as text, such as "s3://..."' in refused(*show, "s3:/bucket/run")
    said = refused(*show, "s3://someone:pa55word@bucket/run")
    assert "may hold no password" in said
    assert "pa55word" not in said
    assert "give a path of this disk as a path" in refused(*show, "file:///x")
    assert "no file matches s3://bucket/*.csv" in refused(
        "score", f"{s3}/*.csv", "--out", f"{s3}/x.csv"
    )


QUICK = {"trainer": {"max_steps": 4, "save_steps": 2}}


def test_trainings_votes_and_diagnoses_go_to_a_store(
    store: str, machine: Machine, rows: Any, tmp_path: Path
) -> None:
    bad = [*rows[:8], {"prompt": "No answer"}]
    put_lines(f"{store}/pairs.jsonl", bad)
    listed = f"{store}/bad.jsonl"
    pairs = (f"{store}/pairs.jsonl", "--bad-rows", listed)
    config = tmp_path / "quick.yaml"
    config.write_text(yaml.safe_dump(QUICK))
    train = ("train-rm", *pairs, "--model", stand_in("reward"), "--config", config)
    assert f"in {store}/rm, once it is copied to a disk, for --reward" in done(
        *train, "--out", f"{store}/rm"
    )
    done(*train, "--out", tmp_path / "rm")
    there = contents(f"{store}/rm")
    assert there["model.safetensors"] == (tmp_path / "rm/model.safetensors").read_bytes()
    assert there["train.json"]
    assert not [name for name in there if "checkpoint" in name]
    assert json.loads(contents(store)["bad.jsonl"])["where"].endswith("pairs.jsonl:9")
    assert "is no list of bad rows" in refused(*train[:3], f"{store}/pairs.jsonl", "--out", "x")

    config.write_text(yaml.safe_dump({"ensemble": {"heads": 2, **QUICK}}))
    votes = ("strength", *pairs, "--model", stand_in("reward"), "--config", config)
    done(*votes, "--out", f"{store}/votes")
    there = contents(f"{store}/votes")
    assert {"pairs.parquet", "strength.json", "ensemble/model.safetensors"} <= there.keys()
    machine("second")
    done(*votes, "--out", f"{store}/votes")
    assert contents(f"{store}/votes") == there | {
        "stages/writer.json": contents(f"{store}/votes")["stages/writer.json"]
    }

    config.write_text("diagnose: {max_new_tokens: 4}")
    work = ("--work", f"{store}/work", "--samples", 2, "--config", config)
    page = ("--out", f"{store}/page.html")
    assert f"page: {store}/page.html" in done("diagnose", *pairs, *work, *page)
    assert contents(store)["page.html"].startswith(b"<!DOCTYPE html>")
    assert [name for name in contents(f"{store}/work") if name.endswith(".parquet")]
    other = ("--out", f"{store}/pairs.jsonl.html")
    put_lines(other[1], rows[:1])
    assert "exists and is no page" in refused("diagnose", *pairs, *work, *other)


def test_another_machine_goes_on_with_a_training(
    memory: str, machine: Machine, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was stopped, its checkpoints are there."""

    def train(out: str) -> dict[str, Any]:
        settings = {f"trainer.{name}": value for name, value in QUICK["trainer"].items()}
        return train_rm(rows[:8], model=stand_in("reward"), out=out, settings=settings)

    train(f"{memory}/whole")
    with monkeypatch.context() as patch:
        patch.setattr("seamaug.train.run._accuracy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(f"{memory}/rm")
    assert [name for name in contents(f"{memory}/rm") if "checkpoint-4/" in name]
    machine("second")
    train(f"{memory}/rm")
    there, whole = contents(f"{memory}/rm"), contents(f"{memory}/whole")
    assert there["model.safetensors"] == whole["model.safetensors"]
    assert not [name for name in there if "checkpoint" in name]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_bucket_that_is_missing_shows_before_seeds_are_scored(s3: str, rows: Any,
                                                               tmp_path: Path) -> None:  # fmt: skip
    put_lines(f"{s3}/seeds.jsonl", rows)
    said = refused("expand", f"{s3}/seeds.jsonl", "--out", "s3://no-such-bucket/run")
    assert "s3://no-such-bucket/run: not found (The specified bucket does not exist)" in said


def test_missing_credentials_and_a_missing_server_are_named(
    s3: str, rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fsspec

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    fsspec.filesystem("s3").clear_instance_cache()
    said = refused("show", f"{s3}/run")
    assert "Unable to locate credentials: access is refused: give credentials" in said
    assert "AWS_ACCESS_KEY_ID" in said
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    said = refused("show", f"{s3}/run")
    assert "cannot be reached" in said
    assert SECRET not in said


@pytest.mark.parametrize("name", ["../evil", "stages/../../evil", "/evil"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    class Bucket:
        def invalidate_cache(self) -> None:
            pass

        def find(self, root: str, detail: bool) -> dict[str, dict[str, int]]:
            return {f"{root}/run.json": {"size": 1}, f"{root}/{name}": {"size": 1}}

    with pytest.raises(StorageError, match="outside of the folder"):
        Remote("s3://bucket/run", Bucket(), "bucket/run").names()
