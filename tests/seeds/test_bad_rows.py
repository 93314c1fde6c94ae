"""Bad rows of every kind: each is listed with its place and the fix, and all others are used."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamaug.arguments import rows_by_seed
from seamaug.config import SeedsConfig, load_config
from seamaug.errors import ConfigError, InputError
from seamaug.seeds import bounds, read_seeds
from seamaug.seeds.pairs import read_pairs

GOOD, BAD = 400, 10_000
TURN = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": "a"}


def row(**change: Any) -> bytes:
    return json.dumps({"prompt": "q", "chosen": "a", "rejected": "b", **change}).encode()


KINDS: list[tuple[bytes, str]] = [
    (b'{"prompt": "q", "chosen": ', "found malformed JSON"),
    (b"{'prompt': 'q'}", "found malformed JSON"),
    (b"prompt,chosen,rejected", "found malformed JSON"),
    (row() + b" " + row(), "found malformed JSON"),
    (b'{"prompt": ' + b"9" * 5000 + b"}", "found malformed JSON"),
    (b'{"a":' * 3000, "found malformed JSON"),
    (b"\x00\x01\x02", "found malformed JSON"),
    (b"{", "found malformed JSON"),
    (b'{"prompt": "\xff\xfe", "chosen": "a", "rejected": "b"}', "not UTF-8 text; convert"),
    (b"3", "expected a JSON object, found int"),
    (b'"text"', "expected a JSON object, found str"),
    (b"null", "expected a JSON object, found NoneType"),
    (b"[1]", "expected a JSON object, found list"),
    (b"{}", "no known layout among the columns (none); map your columns"),
    (b'{"frage": "q", "antwort": "a"}', "no known layout among the columns frage, antwort"),
    (b'{"prompt": "q", "chosen": "a"}', "field 'rejected' is missing"),
    (row(prompt=""), "field 'prompt' is empty; give it text or remove the row"),
    (row(chosen=" \n"), "field 'chosen' is empty"),
    (row(rejected="\u3000"), "field 'rejected' is empty"),
    (row(prompt=None), "field 'prompt' must be text or a list of messages, not null"),
    (row(chosen=3), "field 'chosen' must be text or a list of messages, not int"),
    (row(rejected=True), "field 'rejected' must be text or a list of messages, not bool"),
    (row(rejected={"a": 1}), "field 'rejected' must be text or a list of messages, not dict"),
    (row(prompt=[]), "field 'prompt' is an empty list of messages"),
    (row(prompt=[{"role": "bot", "content": "q"}]), "field 'prompt', message 0: expected"),
    (row(prompt=[TURN, "q"]), "field 'prompt', message 1: expected"),
    (row(prompt=[TURN, SAID]), "field 'prompt': the prompt must end in a user turn"),
    (row(chosen=[SAID, TURN]), "field 'chosen': the conversation must end in an assistant turn"),
    (row(rejected=["b", 3]), "field 'rejected', message 0: expected"),
    (row(prompt="\ud800"), "field 'prompt' holds a lone surrogate, which is not text; repair"),
    (row(chosen="x" * 40_000), "longer than 30,000 characters, as a row may be; shorten or remove"),
]
"""A line, and what is said of it; the last one by a bound that is lowered for it."""


def good(i: int) -> dict[str, Any]:
    return {"prompt": f"What is {i}?", "chosen": f"yes {i}", "rejected": "no"}


def listed(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_ten_thousand_bad_rows_of_thirty_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good rows stand among them, one after each 25."""
    lower_the_bound(monkeypatch, 30_000)
    assert len(KINDS) > 30
    lines, wanted = [], []
    for i in range(BAD):
        line, said = KINDS[i % len(KINDS)]
        lines.append(line)
        wanted.append((len(lines), said))
        if i % (BAD // GOOD) == 0:
            lines.append(json.dumps(good(i)).encode())
    path, report = tmp_path / "seeds.jsonl", tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join(lines))

    seeds = read_seeds(SeedsConfig(paths=(str(path),), bad_rows=str(report)))

    assert (len(seeds), seeds.unusable, seeds.rows_read) == (GOOD, BAD, GOOD + BAD)
    assert [seed.text for seed in seeds.at(range(2))] == ["What is 0?", "What is 25?"]
    found = listed(report)
    assert len(found) == BAD
    for (number, said), bad in zip(wanted, found, strict=True):
        assert bad["where"] == f"{path}:{number}"
        assert said in bad["problem"]
    with pytest.raises(InputError) as caught:
        read_seeds(SeedsConfig(paths=(str(path),)))
    assert str(caught.value).startswith(f"10,000 of 10,400 rows are unusable:\n{path}:1: ")
    assert "... and 9,995 more" in str(caught.value)


def lower_the_bound(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    too_long = bounds.TOO_LONG.replace(f"{bounds.LONGEST_ROW:,}", f"{characters:,}")
    for module in ("bounds", "read", "json_array"):
        monkeypatch.setattr(f"seamaug.seeds.{module}.LONGEST_ROW", characters)
    monkeypatch.setattr("seamaug.seeds.read.TOO_LONG", too_long)


def as_array(rows: list[Any]) -> bytes:
    return json.dumps(rows).encode()


def as_csv(rows: list[Any]) -> bytes:
    lines = ["prompt,chosen,rejected", *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "s.json",
            as_array([good(0), 3, good(1), {"x": 1}, good(2)]),
            {"item 2": "found int", "item 4": "no known layout"},
        ),
        (
            "s.json.gz",
            gzip.compress(as_array([good(0), good(1), good(2), "b"])[:-1] + b',{"a":"\xff"}]'),
            {"item 4": "found str", "item 5": "not UTF-8"},
        ),
        (
            "s.csv",
            as_csv([good(0), {"a": "x"}, good(1), {"a": 'y"z', "b": '"q"r'}, good(2)])
            + b'\n\xff,b,c\n"open,b,c\n',
            {"3": "as many fields", "5": "malformed CSV", "7": "UTF-8", "8": "malformed CSV"},
        ),
    ],
)
def test_each_format_goes_on_behind_a_bad_row(
    tmp_path: Path, name: str, content: bytes, said: dict[str, str]
) -> None:
    path, report = tmp_path / name, tmp_path / "bad.jsonl"
    path.write_bytes(content)
    seeds = read_seeds(SeedsConfig(paths=(str(path),), bad_rows=str(report)))
    assert [seed.text for seed in seeds.at(range(3))] == [good(i)["prompt"] for i in range(3)]
    found = {bad["where"].removeprefix(f"{path}:"): bad["problem"] for bad in listed(report)}
    assert found.keys() == said.keys()
    for place, part in said.items():
        assert part in found[place]


def test_parquet_goes_on_behind_a_bad_row(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff", b"c", b"d", b" "], pa.binary()).view(pa.string())
    path, report = tmp_path / "s.parquet", tmp_path / "bad.jsonl"
    pq.write_table(pa.table({"prompt": texts, "golden": ["yes"] * 5}), path)
    seeds = read_seeds(SeedsConfig(paths=(str(path),), bad_rows=str(report)))
    assert [seed.text for seed in seeds.at(range(3))] == ["a", "c", "d"]
    assert [bad["where"] for bad in listed(report)] == [f"{path}:row 2", f"{path}:row 5"]


def test_rows_in_memory_and_those_to_write_are_sifted_alike(tmp_path: Path) -> None:
    rows = [good(0), 3, good(1), {"x": 1}, good(2)]
    settings = {"seeds.bad_rows": str(tmp_path / "bad.jsonl")}
    config = load_config(None, settings)
    assert len(read_seeds(config.seeds, rows)) == 3
    assert [bad["where"] for bad in listed(tmp_path / "bad.jsonl")] == ["row 2", "row 4"]
    assert [own for *_, own in rows_by_seed(rows, config)] == [good(0), good(1), good(2)]
    pairs = read_pairs(config.seeds, [*rows, {**good(3), "margin": "much"}])
    assert [pair.where for pair in pairs] == ["row 1", "row 3", "row 5"]
    assert listed(tmp_path / "bad.jsonl")[-1] == {
        "where": "row 6",
        "problem": "field 'margin' must be a number, not 'much'",
    }


def test_a_list_of_bad_rows_replaces_only_another_one(tmp_path: Path) -> None:
    """Not the seeds, for one."""
    path = tmp_path / "seeds.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(good(0)))
        writer.writeheader()
        writer.writerows([good(i) for i in range(3)])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is no list of bad rows; choose another name"):
        read_seeds(SeedsConfig(paths=(str(path),), bad_rows=str(path)))
    assert path.read_bytes() == before
    report = tmp_path / "bad.jsonl"
    config = SeedsConfig(bad_rows=str(report))
    for rows, count in (([3], 1), ([4, 5], 2), ([], 0), ([6], 1)):
        read_seeds(config, [*rows, *(good(i) for i in range(3))])
        assert len(listed(report)) == count
