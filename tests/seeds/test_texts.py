"""Texts of evaluation files of every format, and what is said of a file that has none."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamaug.errors import InputError
from seamaug.seeds.texts import read_texts

ROW = {
    "question": "Why?",
    "id": 3,
    "choices": ["one", " "],
    "chat": [{"role": "user", "content": "Hi"}],
    "meta": {"note": "x"},
    "none": None,
}


def test_every_text_of_a_row_with_its_place(tmp_path: Path) -> None:
    jsonl, parquet = tmp_path / "a.jsonl", tmp_path / "b.parquet"
    jsonl.write_text("\n" + json.dumps(ROW) + "\n")
    pq.write_table(pa.Table.from_pylist([{"a": "first"}, {"a": None}, {"a": "third"}]), parquet)
    (tmp_path / "c.csv").write_text("q,a\nWhat?,42\n")
    with gzip.open(tmp_path / "d.json.gz", "wt") as stream:
        json.dump([{"t": "x"}], stream)
    (tmp_path / "e.txt").write_text("\ufeffone\n\ntwo words\n", encoding="utf-8")
    found = [(Path(f).name, row, text.strip()) for f, row, text in read_texts([f"{tmp_path}/*"])]
    assert found == [
        ("a.jsonl", "2", "Why?"),
        ("a.jsonl", "2", "one"),
        ("a.jsonl", "2", "Hi"),  # the role is no text
        ("a.jsonl", "2", "x"),
        ("b.parquet", "row 1", "first"),
        ("b.parquet", "row 3", "third"),
        ("c.csv", "2", "What?"),
        ("c.csv", "2", "42"),
        ("d.json.gz", "item 1", "x"),
        ("e.txt", "1", "one"),
        ("e.txt", "3", "two words"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, r"there is no evaluation file .*none\.jsonl; check the path"),
        ("empty.jsonl", b"", r"empty\.jsonl holds no text"),
        ("numbers.jsonl", b'{"a": 1}\n', r"numbers\.jsonl holds no text"),
        ("empty.txt", b"\n \n", r"empty\.txt holds no text"),
        ("latin.txt", b"caf\xe9", r"latin\.txt:1: not UTF-8"),
        ("bad.jsonl", b"{", r"bad\.jsonl:1: expected one JSON object per line"),
        ("some.doc", b"x", r"cannot tell the format"),
    ],
)
def test_a_file_that_cannot_serve_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_texts([str(path)]))


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no evaluation file"):
        list(read_texts([f"{tmp_path}/*.jsonl"]))
