"""Seeds beyond what is held lie in a file, and are read as if they were held."""

import errno
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug import expand, scratch
from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.seeds import Seeds, read_seeds
from seamaug.seeds import table as table_module
from seamaug.seeds.store import RowStore, taken

SCHEMA = pa.schema([("n", pa.int64()), ("texts", pa.list_(pa.string()))])


def chunk(start: int, count: int) -> pa.Table:
    rows = [{"n": n, "texts": [f"text {n}"] * (n % 3)} for n in range(start, start + count)]
    return pa.Table.from_pylist(rows, SCHEMA)


def stored(*sizes: int) -> pa.Table:
    own, start = RowStore(SCHEMA), 0
    for size in sizes:
        own.add(chunk(start, size))
        start += size
    return own.table()


@pytest.fixture
def few_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY", 100)
    monkeypatch.setattr(table_module, "_CHUNK", 3)


@pytest.mark.parametrize("sizes", [(), (0,), (4,), (4, 3), (9,), (2, 2, 2, 0, 5)])
def test_rows_come_back_as_they_went_in(few_held: None, sizes: tuple[int, ...]) -> None:
    assert stored(*sizes).equals(chunk(0, sum(sizes)))


def test_what_is_not_held_lies_in_a_file_without_a_name(
    few_held: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = pa.total_allocated_bytes()
    table = stored(*[1000] * 20)
    assert table.num_rows == 20_000
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert not list(tmp_path.iterdir())
    with Path("/proc/self/maps").open() as maps:
        assert any(str(tmp_path) in line for line in maps)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**6), max_size=20),
)
def test_rows_are_taken_as_arrow_takes_them(sizes: list[int], drawn: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    table = pa.concat_tables([chunk(int(s), n) for s, n in zip(starts, sizes, strict=False)])
    at = [n % table.num_rows for n in drawn] if table.num_rows else []
    found = taken(table, at)
    assert found.equals(table.take(pa.array(at, pa.int64())))
    assert all(column.num_chunks <= 1 for column in found.columns)


@pytest.mark.parametrize("position", [-1, 7, 100])
def test_a_row_that_is_not_there_is_refused(position: int) -> None:
    table = pa.concat_tables([chunk(0, 3), chunk(3, 4)])
    with pytest.raises(IndexError):
        taken(table, [0, position])


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(count)]


def seeds_of(own: list[dict[str, Any]]) -> Seeds:
    return read_seeds(SeedsConfig(paths=("rows",)), own)


def test_seeds_in_a_file_are_those_that_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_CHUNK", 3)
    late = {"prompt": "q4", "chosen": "other", "rejected": "late"}
    own = [*rows(6), late, *rows(11)]  # so that chunks end up of different lengths
    held = seeds_of(own)
    monkeypatch.setattr(scratch, "IN_MEMORY", 100)
    mapped = seeds_of(own)
    assert len(mapped.table.to_batches()) == 4
    assert mapped.table.equals(held.table)
    assert mapped[4].worse == ["b4", "late"]
    assert mapped.fingerprint == held.fingerprint
    assert [seed.text for seed in mapped.at([7, 0, 7, 10])] == ["q7", "q0", "q7", "q10"]
    assert mapped.prompts_at(np.array([9, 1])) == held.prompts_at(np.array([9, 1]))
    assert mapped.texts(2, 8) == held.texts(2, 8)
    assert pickle.loads(pickle.dumps(mapped)).table.equals(held.table)


def test_a_run_is_the_same_from_held_seeds_and_mapped_ones(
    bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> bytes:
        settings = {"score.samples": 4, "select.share": 0.3, "generate.policy_samples": 0}
        result = expand(bundled(24), budget=6, out=tmp_path / name, settings=settings)
        return (result.path / "provenance.parquet").read_bytes()

    held = run("held")
    monkeypatch.setattr(scratch, "IN_MEMORY", 500)
    monkeypatch.setattr(table_module, "_CHUNK", 5)
    assert run("mapped") == held


def test_a_full_disk_is_named_with_what_to_do(
    few_held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pa.ipc.RecordBatchFileWriter, "write_table", full)
    with pytest.raises(InputError, match=r"cannot hold what.*No space left.*TMPDIR"):
        seeds_of(rows(6))
