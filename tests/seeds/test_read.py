"""Every file format is read, and every broken file is named with its line and what is wrong."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.seeds import read_seeds
from seamaug.seeds.read import read_rows

ROWS = [
    {"prompt": f"Frage {i}: wie geht's, „Ü“?", "chosen": f"gut {i}", "rejected": f"bad\n{i}"}
    for i in range(4)
]
HOPELESS = "x" * 300 + ".jsonl"  # longer than a file's name may be


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def delimited(rows: list[dict[str, Any]], delimiter: str) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def read(*paths: Path | str, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(read_rows(SeedsConfig(paths=tuple(map(str, paths)), **options)))


def refusal(*paths: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(*paths, **options)
    return str(caught.value)


def file_with(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FORMATS: dict[str, Callable[[], bytes]] = {
    "s.jsonl": lambda: jsonl(ROWS).encode(),
    "s.ndjson": lambda: jsonl(ROWS).encode(),
    "s.jsonl.gz": lambda: gzip.compress(jsonl(ROWS).encode()),
    "s.json": lambda: json.dumps(ROWS, indent=1).encode(),
    "lines.json": lambda: jsonl(ROWS).encode(),
    "s.json.gz": lambda: gzip.compress(json.dumps(ROWS).encode()),
    "bom.jsonl": lambda: b"\xef\xbb\xbf" + jsonl(ROWS).encode(),
    "crlf.jsonl": lambda: jsonl(ROWS).replace("\n", "\r\n\r\n").encode(),
    "s.csv": lambda: delimited(ROWS, ",").encode(),
    "bom.csv": lambda: b"\xef\xbb\xbf" + delimited(ROWS, ",").encode(),
    "s.csv.gz": lambda: gzip.compress(delimited(ROWS, ",").encode()),
    "s.tsv": lambda: delimited(ROWS, "\t").encode(),
    "s.parquet": lambda: parquet(ROWS),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = file_with(tmp_path, name, FORMATS[name]())
    found = read(path)
    assert [row for _, row in found] == ROWS
    assert all(where.startswith(f"{path}:") for where, _ in found)


def test_the_bundled_seeds_are_read() -> None:
    found = read("embedded")
    assert len(found) > 1000
    assert found[0][0] == "embedded seeds:1"
    assert all(row["licence"] and row["source"] for _, row in found)


def test_places_are_lines_items_or_rows(tmp_path: Path) -> None:
    text = file_with(tmp_path, "s.jsonl", "\n" + jsonl(ROWS[:1]) + "\n" + jsonl(ROWS[1:2]))
    assert [where for where, _ in read(text)] == [f"{text}:2", f"{text}:4"]
    array = file_with(tmp_path, "s.json", json.dumps(ROWS[:2]))
    assert [where for where, _ in read(array)] == [f"{array}:item 1", f"{array}:item 2"]
    table = file_with(tmp_path, "s.parquet", parquet(ROWS[:2]))
    assert [where for where, _ in read(table)] == [f"{table}:row 1", f"{table}:row 2"]
    lines = file_with(tmp_path, "s.csv", 'prompt,golden\n"a\nb",c\nd,e\n')
    assert [where for where, _ in read(lines)] == [f"{lines}:3", f"{lines}:4"]


def test_several_files_and_globs_are_read_in_order(tmp_path: Path) -> None:
    for number in (2, 1):
        file_with(tmp_path, f"part{number}.jsonl", jsonl(ROWS[number : number + 1]))
    (tmp_path / "deep").mkdir()
    file_with(tmp_path / "deep", "part3.jsonl", jsonl(ROWS[3:]))
    first = file_with(tmp_path, "first.csv", delimited(ROWS[:1], ","))
    found = read(first, tmp_path / "part*.jsonl")
    assert [row for _, row in found] == ROWS[:3]
    assert len(read(tmp_path / "**" / "part*.jsonl")) == 3


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path: Path) -> None:
    path = file_with(tmp_path, "seeds[1].jsonl", jsonl(ROWS))
    assert len(read(path)) == 4


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    path = file_with(tmp_path, "s.csv", f"prompt,golden\n{'a' * 300_000},b\n")
    assert len(read(path)[0][1]["prompt"]) == 300_000


def test_a_local_dataset_is_opened_with_its_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "prefs"
    folder.mkdir()
    file_with(folder, "train.parquet", parquet(ROWS))
    file_with(folder, "test.parquet", parquet(ROWS[:1]))
    assert [row for _, row in read(folder)] == ROWS
    found = read(folder, split="test")
    assert found == [(f"{folder}:row 1", ROWS[0])]
    assert "split 'validation'" in refusal(folder, split="validation")


def test_a_saved_dataset_is_opened(tmp_path: Path) -> None:
    import datasets

    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(tmp_path / "one")
    assert [row for _, row in read(tmp_path / "one")] == ROWS
    datasets.DatasetDict({"train": saved, "test": saved.select([0])}).save_to_disk(tmp_path / "two")
    assert [row for _, row in read(tmp_path / "two", split="test")] == ROWS[:1]
    assert "split 'none'" in refusal(tmp_path / "two", split="none")


def test_a_folder_of_several_formats_is_refused(tmp_path: Path) -> None:
    file_with(tmp_path, "a.parquet", parquet(ROWS))
    file_with(tmp_path, "b.csv", "prompt,golden\nq,a\n")
    said = refusal(tmp_path)
    assert "several formats (.csv, .parquet)" in said
    assert f"'{tmp_path}/*.csv*'" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.jsonl", "does not exist; check the path"),
        ("missing.csv.gz", "does not exist; check the path"),
        (HOPELESS, "does not exist; check the path"),
        ("nothing-*.jsonl", "no file matches"),
        ("no-such-dataset", "neither a file nor a dataset that load_dataset opens"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, name: str, said: str) -> None:
    message = refusal(tmp_path / name)
    assert said in message
    assert str(tmp_path / name) in message


def test_an_unknown_dataset_id_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*args: Any, **options: Any) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = refusal("someone/prefs", subset="en", split="test")
    assert "someone/prefs is neither a file nor a dataset" in message
    assert "(subset 'en', split 'test'): no network" in message


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    message = refusal(file_with(tmp_path, "s.txt", jsonl(ROWS)))
    assert "cannot tell the format" in message
    assert ".jsonl" in message
    assert ".parquet" in message


def test_what_is_no_gzip_is_named(tmp_path: Path) -> None:
    path = file_with(tmp_path, "s.jsonl.gz", jsonl(ROWS))
    assert f"{path} is not a readable gzip file" in refusal(path)


@pytest.mark.parametrize("name", ["s.jsonl.gz", "s.csv.gz", "s.json.gz"])
def test_a_truncated_gzip_is_named(tmp_path: Path, name: str) -> None:
    whole = FORMATS[name]()
    for cut in (len(whole) - 4, len(whole) // 2, 12):
        path = file_with(tmp_path, name, whole[:cut])
        assert refusal(path) == f"{path}: the gzip file is truncated; copy it again"


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(jsonl(ROWS).encode()))
    content[-6] ^= 0xFF  # the checksum
    path = file_with(tmp_path, "s.jsonl.gz", bytes(content))
    assert f"{path} is not a readable gzip file" in refusal(path)


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "a", "chosen": ',
        "{'prompt': 'a'}",
        "not json",
        '{"a": 1} {"b": 2}',
        '{"prompt": ' + "9" * 5000 + "}",  # more digits than Python converts
        '{"a":' * 100_000,
    ],
    ids=["cut", "quotes", "text", "two", "digits", "deep"],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = file_with(tmp_path, "s.jsonl", jsonl(ROWS[:2]) + line + "\n" + jsonl(ROWS[2:]))
    message = refusal(path)
    assert message.startswith(f"{path}:3: expected one JSON object per line, found malformed JSON")


@pytest.mark.parametrize(
    ("line", "kind"), [("3", "int"), ('"text"', "str"), ("null", "NoneType"), ("[1]", "list")]
)
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str, kind: str) -> None:
    path = file_with(tmp_path, "s.jsonl", jsonl(ROWS[:1]) + line + "\n")
    assert refusal(path) == f"{path}:2: expected a JSON object, found {kind}"


def test_a_bad_array_is_named(tmp_path: Path) -> None:
    path = file_with(tmp_path, "s.json", json.dumps([ROWS[0], 3]))
    assert refusal(path) == f"{path}:item 2: expected a JSON object, found int"
    for broken in (json.dumps(ROWS)[:-5], "[" * 100_000, "[" + "9" * 5000 + "]"):
        path = file_with(tmp_path, "s.json", broken)
        assert refusal(path).startswith(f"{path}: malformed JSON array")


@pytest.mark.parametrize("lines", [1, 2000])
def test_invalid_utf8_is_named_with_its_line(tmp_path: Path, lines: int) -> None:
    good = jsonl(ROWS[:1]).encode() * lines
    content = good + b'{"prompt": "\xff"}\n' + good
    plain = file_with(tmp_path, "s.jsonl", content)
    assert refusal(plain).startswith(f"{plain}:{lines + 1}: not UTF-8 text; convert")
    packed = file_with(tmp_path, "s.jsonl.gz", gzip.compress(content))
    assert refusal(packed).startswith(f"{packed}:{lines + 1}: not UTF-8 text; convert")


def test_invalid_utf8_is_named_in_the_other_text_formats(tmp_path: Path) -> None:
    table = file_with(tmp_path, "s.csv", b"prompt,golden\na,b\nc,\xe4\n")
    assert refusal(table).startswith(f"{table}:3: not UTF-8 text")
    array = file_with(tmp_path, "s.json", b'[\n{"prompt": "\xff"}]')
    assert refusal(array).startswith(f"{array}:item 1: not UTF-8 text")


@pytest.mark.parametrize("line", ["a", "a,b,c", '"a,b', '"a"b,c'])
def test_a_ragged_csv_row_is_named(tmp_path: Path, line: str) -> None:
    path = file_with(tmp_path, "s.csv", f"prompt,golden\nx,y\n{line}\nx,y\nx,y\n")
    message = refusal(path)
    assert message.startswith(f"{path}:3: ")
    assert "as many fields as the header (2)" in message or "malformed CSV" in message


def test_a_corrupt_parquet_is_named(tmp_path: Path) -> None:
    whole = parquet(ROWS)
    for content in (b"", b"PAR1", whole[:-20], b"x" * 200, whole[4:]):
        path = file_with(tmp_path, "s.parquet", content)
        message = refusal(path)
        assert str(path) in message
        assert "not a readable Parquet file" in message or "cannot be read" in message


def test_parquet_values_that_python_cannot_hold_are_named(tmp_path: Path) -> None:
    no_text = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    far_future = pa.array([0, 2**62], pa.timestamp("us"))
    for column in (no_text, far_future):
        path = tmp_path / "s.parquet"
        pq.write_table(pa.table({"prompt": ["a", "b"], "odd": column}), path)
        message = refusal(path)
        assert message.startswith(f"{path}:row 2: a value of the row cannot be read")


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_with(tmp_path, "s.jsonl", jsonl(ROWS))

    def refuse(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{path} cannot be read: Permission denied"


NAMES = st.sampled_from(sorted({name for name in FORMATS if name.startswith("s.")}))
CONTENT = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(NAMES, st.integers(0, 1000), st.binary(max_size=4)).map(
        lambda parts: _spoilt(FORMATS[parts[0]](), parts[1], parts[2])
    ),
)


def _spoilt(content: bytes, at: int, patch: bytes) -> bytes:
    at %= len(content)
    return content[:at] + patch + content[at + len(patch) + 1 :]


@settings(deadline=None, database=None, max_examples=300, derandomize=True)
@given(NAMES, CONTENT)
def test_any_bytes_are_seeds_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    path.write_bytes(content)
    said = ""
    try:
        seeds = read_seeds(SeedsConfig(paths=(str(path),)))
        assert len(seeds) >= 3
    except InputError as error:
        said = str(error)
    assert not said or str(path) in said


@settings(deadline=None, database=None, max_examples=300, derandomize=True)
@given(st.sampled_from(["s.jsonl", "s.jsonl.gz"]), st.integers(0, 2000), st.binary(max_size=6))
def test_a_spoilt_file_of_the_same_format_is_seeds_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: int, patch: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"spoilt-{name}"
    path.write_bytes(_spoilt(FORMATS[name](), at, patch))
    said = ""
    try:
        seeds = read_seeds(SeedsConfig(paths=(str(path),)))
        assert len(seeds) == 4
    except InputError as error:
        said = str(error)
    assert not said or str(path) in said


@pytest.mark.parametrize("given", [{"split": "test"}, {"subset": "en"}])
def test_a_split_of_a_file_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    path = file_with(tmp_path, "rows.parquet", parquet(ROWS))
    for source in (path, tmp_path / "*.parquet"):
        assert "is read whole: leave them out" in refusal(source, **given)
