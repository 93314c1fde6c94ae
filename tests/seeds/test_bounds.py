"""Small files that unpack to absurd sizes, and rows without an end, are refused in bounded memory."""

import gzip
import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.config import SeedsConfig
from seamaug.seeds import json_array, read_seeds

MIB = 1 << 20
MOST = 700
"""MiB that a file of less than 4 MiB may take."""
CHILD = """
    import resource, sys
    from seamaug.config import SeedsConfig
    from seamaug.errors import InputError
    from seamaug.seeds import read_seeds

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_seeds(SeedsConfig(paths=(sys.argv[1],)))
    except InputError as error:
        print(error)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) >> 10)
"""


def read(path: Path) -> tuple[str, int]:
    """What is said of the file, and the MiB that saying it took."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *message, grown = done.stdout.splitlines()
    return "\n".join(message), int(grown)


def bomb(path: Path, head: bytes, piece: bytes) -> Path:
    """A gzip file of 2 GiB of this piece: one member that holds 16 MiB of it, repeated."""
    member = gzip.compress(piece * ((16 << 20) // len(piece)), 9)
    path.write_bytes(gzip.compress(head) + member * 128)
    assert path.stat().st_size < 4 << 20
    return path


BOMBS = {
    "line.jsonl.gz": (b"", b"x"),
    "text.jsonl.gz": (b'{"prompt": "', b"x"),
    "deep.jsonl.gz": (b"{}\n", b"["),
    "blank.jsonl.gz": (b"", b" " * 4095 + b"\n"),
    "rows.jsonl.gz": (b"", json.dumps({"prompt": "q", "golden": "a" * 8000}).encode() + b"\n"),
    "array.json.gz": (b"[{}, ", b"["),
    "item.json.gz": (b'[{"prompt": "', b"x"),
    "field.csv.gz": (b'prompt,golden\n"', b"x"),
    "fields.csv.gz": (b"prompt,golden\n", b'"' + b"x" * 4000 + b'\n",'),
    "header.csv.gz": (b"", b"x,"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_gzip_bomb(tmp_path: Path, name: str) -> None:
    path = bomb(tmp_path / name, *BOMBS[name])
    message, grown = read(path)
    assert str(path) in message
    assert "unpacks to more than 256 MiB, over 100 times its size" in message or (
        "malformed" in message and name.startswith(("array", "item", "header"))
    )
    assert grown < MOST


def zstd(path: Path, column: pa.Array, **options: object) -> Path:
    pq.write_table(pa.table({"prompt": column}), path, compression="zstd", **options)
    assert path.stat().st_size < 1 << 20
    return path


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), [text])


@pytest.mark.parametrize("kind", ["page", "rows", "value"])
def test_a_parquet_bomb(tmp_path: Path, kind: str) -> None:
    """One page of 300 MiB; a billion bytes in a million rows; a large value in each row."""
    path = tmp_path / "s.parquet"
    if kind == "page":
        zstd(path, pa.array(["x" * (300 << 20)]), use_dictionary=False, write_statistics=False)
    else:
        zstd(path, repeated("x" * 1000, 1 << 20) if kind == "rows" else repeated("x" * MIB, 1000))
    message, grown = read(path)
    assert message.startswith(f"{path} unpacks to more than 256 MiB")
    assert grown < MOST


def test_one_endless_line_of_a_plain_file(tmp_path: Path) -> None:
    """Two GiB that take no place on the disk."""
    for name in ("s.jsonl", "s.json", "s.csv"):
        path = tmp_path / name
        with path.open("wb") as stream:
            stream.truncate(2 << 30)
        message, grown = read(path)
        assert f"{path}:1: " in message or f"{path}: malformed" in message
        assert grown < MOST


def test_sound_files_are_read_whole(tmp_path: Path) -> None:
    """Text that packs well, and a row of 16 million characters."""
    path = tmp_path / "s.jsonl.gz"
    rows = [{"prompt": f"q {i}", "golden": "a" * (1 << 20)} for i in range(20)]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    long = [{"prompt": "x" * ((1 << 24) - 100), "golden": "a"}]
    (tmp_path / "t.json").write_text(json.dumps([*long, *rows]), encoding="utf-8")
    for name, count in (("s.jsonl.gz", 20), ("t.json", 21)):
        assert len(read_seeds(SeedsConfig(paths=(str(tmp_path / name),)))) == count


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)


@settings(deadline=None, database=None, max_examples=200, derandomize=True)
@given(st.lists(JSON, max_size=5), st.integers(0, 3), st.integers(1, 9))
def test_an_array_in_pieces_is_the_array(values: list[Any], indent: int, chunk: int) -> None:
    text = json.dumps(values, indent=indent or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK", chunk)
        assert [value for _, value in json_array.items(io.StringIO(text))] == values
        for broken in (text[:-1], text + "x", text.replace("]", "}")):
            with pytest.raises(ValueError, match="."):
                list(json_array.items(io.StringIO(broken)))
