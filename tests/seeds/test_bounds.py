"""Small files that unpack to absurd sizes, and endless rows, are refused in bounded memory."""

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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.scoring.table import read_scores
from seamaug.seeds import json_array, read_seeds

MIB = 1 << 20
MOST = 600
"""MiB that the files here, each of less than 2 MiB or of no extent on the disk, may take."""
CHILD = """
    import resource, sys
    from seamaug.config import SeedsConfig
    from seamaug.errors import InputError
    from seamaug.seeds import read_seeds

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sys.argv[1:]:
        try:
            read_seeds(SeedsConfig(paths=(path,)))
        except InputError as error:
            print(*str(error).splitlines()[:2])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) >> 10)
"""


def read(*paths: Path) -> list[str]:
    """What is said of each file; all that must take little memory."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *messages, grown = done.stdout.splitlines()
    assert int(grown) < MOST
    assert len(messages) == len(paths)
    return messages


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
"""Beginnings, and what is repeated behind them."""


def test_gzip_bombs(tmp_path: Path) -> None:
    """Half a GiB each: 16 MiB of the piece in one member, and that repeated."""
    for name, (head, piece) in BOMBS.items():
        member = gzip.compress(piece * (16 * MIB // len(piece)), 9)
        (tmp_path / name).write_bytes(gzip.compress(head) + member * 32)
        assert (tmp_path / name).stat().st_size < 2 * MIB
    paths = [tmp_path / name for name in BOMBS]
    for path, message in zip(paths, read(*paths), strict=True):
        assert message.startswith(str(path))
        malformed = path.name.startswith(("array", "item"))
        assert ("malformed" if malformed else ", over 100 times its size") in message


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), [text])


def test_parquet_bombs(tmp_path: Path) -> None:
    """One page of 80 MiB; a hundred thousand rows of one value; a large value in each row."""
    page = {"use_dictionary": False, "write_statistics": False}
    for name, column, options in (
        ("page", pa.array(["x" * (80 * MIB)]), page),
        ("rows", repeated("x" * 1000, 100_000), {}),
        ("value", repeated("x" * 4 * MIB, 1000), {}),
    ):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"prompt": column}), path, compression="zstd", **options)
        assert path.stat().st_size < MIB // 2
    paths = sorted(tmp_path.iterdir())
    for path, message in zip(paths, read(*paths), strict=True):
        assert message.startswith(f"{path} unpacks to more than 64 MiB")
    with pytest.raises(InputError, match="unpacks to more than 64 MiB"):
        read_scores(tmp_path / "rows.parquet", "seam")


def test_one_endless_line_of_a_plain_file(tmp_path: Path) -> None:
    """Zeros that take no place on the disk."""
    paths = [tmp_path / name for name in ("s.jsonl", "s.json", "s.csv")]
    for path in paths:
        with path.open("wb") as stream:
            stream.truncate(256 * MIB)
    for path, message in zip(paths, read(*paths), strict=True):
        assert f"{path}:1: " in message


def test_sound_files_are_read_whole(tmp_path: Path) -> None:
    """Text that packs well, and a row of 16 million characters."""
    path = tmp_path / "s.jsonl.gz"
    rows = [{"prompt": f"q {i}", "golden": "a" * MIB} for i in range(20)]
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


@settings(deadline=None, database=None, max_examples=100, derandomize=True)
@given(st.lists(JSON, max_size=5), st.integers(0, 3), st.integers(1, 9))
@example([0.5, 1e-7, -1.5e300, 12], 0, 1)
def test_an_array_in_pieces_is_the_array(values: list[Any], indent: int, chunk: int) -> None:
    text = json.dumps(values, indent=indent or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK", chunk)
        assert [value for _, value in json_array.items(io.StringIO(text))] == values
        for broken in (text[:-1], text + "x", text.replace("]", "}")):
            with pytest.raises(ValueError, match=r"."):
                list(json_array.items(io.StringIO(broken)))
