"""Runs whose folder lies beyond this disk: stopped, taken over, refused; the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from seamaug import expand
from seamaug.errors import RunFolderError
from seamaug.run.folder import RunFolder
from seamaug.run.mirror import folder_of, opened_run
from seamaug.storage import remote
from tests.conftest import HANG
from tests.faults.scene import OUTPUTS
from tests.storage.conftest import contents, put_lines

Machine = Callable[[str], Path]
LOCK = "stages/lock.json"


def outputs(url: str) -> dict[str, bytes]:
    found = contents(url)
    return {name: found[name] for name in OUTPUTS}


def parts(url: str) -> list[str]:
    there = remote(url)
    assert there
    return [name for name in there.names() if name.startswith("stages/") and ".parquet" in name]


def stop_behind(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Ctrl-C once so many parts are finished."""
    part, left = RunFolder.part, [count]

    def stopping(*arguments: Any, **named: Any) -> pa.Table:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return part(*arguments, **named)

    monkeypatch.setattr(RunFolder, "part", stopping)


def test_a_stopped_run_goes_on_on_another_machine_with_the_same_bytes(
    store: str, machine: Machine, rows: Any, config: Path, local: dict[str, bytes]
) -> None:
    url = f"{store}/runs/mine"
    with pytest.MonkeyPatch.context() as patch:
        stop_behind(patch, 9)
        with pytest.raises(KeyboardInterrupt):
            expand(rows, out=url, config=config, budget=8)
    assert len(parts(url)) == 9
    assert "run.json" not in contents(url)
    assert LOCK not in contents(url)
    before = contents(url)
    machine("second")
    result = expand(rows, out=url, config=config, budget=8)
    assert outputs(url) == local
    after = contents(url)
    assert all(after[name] == before[name] for name in parts(url) if name in before)
    assert result.out == url
    assert len(result.preference) == 8
    assert {name: (result.path / name).read_bytes() for name in OUTPUTS} == local


def test_a_killed_run_goes_on_on_another_machine_with_the_same_bytes(
    s3: str, machine: Machine, rows: Any, config: Path, local: dict[str, bytes]
) -> None:
    put_lines(f"{s3}/seeds.jsonl", rows)
    url = f"{s3}/run"
    command = ["expand", f"{s3}/seeds.jsonl", "--config", str(config), "--budget", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "seamaug.cli", *command, "--out", url],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    end = time.monotonic() + HANG
    while len(parts(url)) < 5:
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "run.json" not in contents(url)
    assert LOCK in contents(url)  # nobody was left to remove it
    machine("second")
    expand(f"{s3}/seeds.jsonl", out=url, config=config, budget=8)
    assert outputs(url) == local
    assert LOCK not in contents(url)


def test_the_machine_that_was_overtaken_takes_what_the_other_one_made(
    memory: str,
    machine: Machine,
    rows: Any,
    config: Path,
    local: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"{memory}/run"
    with pytest.MonkeyPatch.context() as patch:
        stop_behind(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            expand(rows, out=url, config=config, budget=8)
    own = folder_of(url)
    stale = own / "stages" / "score-contrast" / "00003.parquet"
    shutil.copy(stale.with_name("00000.parquet"), stale)  # not what the other machine makes
    machine("second")
    expand(rows, out=url, config=config, budget=8)
    machine("first")
    assert folder_of(url) == own
    with caplog.at_level("INFO", logger="seamaug"):
        result = expand(rows, out=url, config=config, budget=8)
    assert "nothing to do" in caplog.text
    assert stale.read_bytes() == contents(url)["stages/score-contrast/00003.parquet"]
    assert {name: (result.path / name).read_bytes() for name in OUTPUTS} == local


def test_other_settings_are_refused_before_parts_are_fetched(
    store: str, machine: Machine, rows: Any, config: Path
) -> None:
    url = f"{store}/run"
    with pytest.MonkeyPatch.context() as patch:
        stop_behind(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            expand(rows, out=url, config=config, budget=8)
    cache = machine("second")
    with pytest.raises(RunFolderError) as refusal:
        expand(rows, out=url, config=config, budget=9)
    assert f"{url} holds a run with other settings" in str(refusal.value)
    assert "config.budget: 8 -> 9" in str(refusal.value)
    assert str(cache) not in str(refusal.value)
    assert not list(cache.rglob("*.parquet"))
    assert LOCK not in contents(url)


def test_what_is_no_run_is_left_alone(store: str) -> None:
    put_lines(f"{store}/data/mine.jsonl", [{"a": 1}])
    with (
        pytest.raises(RunFolderError, match=f"{store}/data exists and is not a seamaug run"),
        opened_run(f"{store}/data", {"a": 1}),
    ):
        pass
    assert contents(f"{store}/data") == {"mine.jsonl": b'{"a": 1}\n'}


def part_of(value: int) -> Callable[[], pa.Table]:
    return lambda: pa.table({"n": [value]})


def test_a_part_is_there_when_it_is_returned_and_missing_ones_are_fetched(store: str) -> None:
    url = f"{store}/run"
    with opened_run(url, {"a": 1}) as run, run:
        for number in range(3):
            run.part("s", number, part_of(number))
            assert f"stages/s/0000{number}.parquet" in contents(url)
        run.remember("x", 1)
        assert "stages/found.json" in contents(url)
    (folder_of(url) / "stages" / "s" / "00001.parquet").unlink()
    with opened_run(url, {"a": 1}) as run, run:
        assert [table["n"][0].as_py() for table in run.parts("s")] == [0, 1, 2]


def test_of_a_chain_made_anew_no_old_parts_are_left_at_the_other_end(memory: str) -> None:
    url = f"{memory}/run"
    with opened_run(url, {"a": 1}) as run, run:
        for number in range(3):
            run.part("s", number, part_of(number), chained=True)
    damaged = folder_of(url) / "stages" / "s" / "00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with opened_run(url, {"a": 1}) as run, run:
        run.part("s", 1, part_of(7), chained=True)
        assert parts(url) == ["stages/s/00000.parquet", "stages/s/00001.parquet"]
        assert contents(url)["stages/s/00001.parquet"] == damaged.read_bytes()


def test_what_was_removed_there_is_sent_again_and_all_of_it_means_a_new_start(memory: str) -> None:
    url = f"{memory}/run"
    for _ in range(2):
        with opened_run(url, {"a": 1}) as run, run:
            run.part("s", 0, part_of(0))
        there = remote(url)
        assert there
        there.remove(["stages/s/00000.parquet"])
    with opened_run(url, {"a": 1}) as run, run:
        pass
    assert "stages/s/00000.parquet" in contents(url)
    there.remove_all()
    with opened_run(url, {"a": 2}) as run, run:
        assert not run.has_part("s", 0)


def test_run_json_is_never_beside_files_it_does_not_vouch_for(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{memory}/run"

    def write(run: RunFolder, text: str) -> None:
        (run.path / "README.md").write_text(text)
        (run.path / "run.json").write_text(text)

    with opened_run(url, {"a": 1}) as run, run:
        run.part("s", 0, part_of(0))
        write(run, "old")
    files = fsspec.filesystem("memory")
    send, seen = type(files).put_file, []

    def watched(self: Any, source: str, target: str, **named: Any) -> None:
        send(self, source, target, **named)
        seen.append((target.rsplit("/", 1)[1], "run.json" in contents(url)))

    monkeypatch.setattr(type(files), "put_file", watched)
    with opened_run(url, {"a": 1}) as run, run:
        write(run, "new one")
    assert seen == [("README.md", False), ("run.json", True)]
