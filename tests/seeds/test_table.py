"""All seeds as one table: rows in memory, merged prompts, too few seeds, lists of bad rows."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.records import Seed, user_message
from seamaug.seeds import Seeds, read_seeds
from seamaug.seeds import table as table_module
from seamaug.seeds.bad_rows import Sieve

FROM_MEMORY = SeedsConfig(paths=("rows",))


def pair(number: int, **fields: Any) -> dict[str, Any]:
    base = {"prompt": f"q{number}", "chosen": f"a{number}", "rejected": f"b{number}"}
    return {**base, **fields}


def seeds_of(rows: Any, **options: Any) -> Seeds:
    return read_seeds(SeedsConfig(paths=("rows",), **options), rows)


def refusal(rows: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        seeds_of(rows, **options)
    return str(caught.value)


def test_rows_in_memory_are_read_in_order() -> None:
    seeds = seeds_of([pair(i) for i in range(4)])
    assert (len(seeds), seeds.rows_read) == (4, 4)
    assert [seed.text for seed in seeds.at([2, 0])] == ["q2", "q0"]
    assert seeds[3].golden == "a3"
    assert seeds[3].worse == ["b3"]
    assert seeds[3].where == "row 4"
    assert seeds.ids == [seeds[i].id for i in range(4)]
    assert [seed.text for seed in seeds.at(np.array([1]))] == ["q1"]
    assert seeds.table.schema.equals(Seed.SCHEMA)


def test_a_dataset_gives_the_seeds_of_its_rows() -> None:
    from datasets import Dataset

    rows = [pair(i) for i in range(3)]
    assert seeds_of(Dataset.from_list(rows)).fingerprint == seeds_of(rows).fingerprint


def test_a_dataset_of_messages_gives_seeds() -> None:
    from datasets import Dataset

    rows = [
        {"messages": [*user_message(f"q{i}"), {"role": "assistant", "content": "a"}]}
        for i in range(3)
    ]
    seeds = seeds_of(Dataset.from_list(rows))
    assert seeds[0].prompt == user_message("q0")


def test_a_file_gives_the_seeds_of_its_rows_with_their_lines(tmp_path: Path) -> None:
    rows = [pair(i) for i in range(3)]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seeds = read_seeds(SeedsConfig(paths=(str(path),)))
    assert seeds.fingerprint == seeds_of(rows).fingerprint
    assert seeds[1].where == f"{path}:2"


def test_what_is_embedded_of_a_prompt_is_its_user_turns() -> None:
    talk = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "two"},
    ]
    seeds = seeds_of([pair(0), pair(1, prompt=talk), pair(2)])
    assert seeds.texts(1, 3) == ["one\ntwo", "q2"]
    assert seeds.texts(0, 1) == ["q0"]


def test_rows_that_share_a_prompt_are_merged_and_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        pair(0),
        pair(1),
        pair(0, chosen="other", rejected="worse still"),
        pair(2),
        pair(0, rejected=" a0 "),  # the golden response, as a rejected one
        pair(0, rejected="b0"),  # there already
    ]
    with caplog.at_level(logging.INFO, logger="seamaug"):
        seeds = seeds_of(rows)
    assert (len(seeds), seeds.rows_read) == (3, 6)
    assert (seeds[0].golden, seeds[0].worse) == ("a0", ["b0", "worse still"])
    assert seeds[1].worse == ["b1"]
    assert "3 of 6 rows share a prompt with an earlier row: merged" in caplog.text


def test_merging_reaches_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_CHUNK", 2)
    seeds = seeds_of([*(pair(i) for i in range(5)), pair(0, rejected="late")])
    assert seeds[0].worse == ["b0", "late"]
    assert [seed.text for seed in seeds.at(range(5))] == [f"q{i}" for i in range(5)]


def test_the_layout_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="seamaug"):
        seeds_of([pair(i) for i in range(3)])
    assert "from row 1: prompt ← prompt, golden ← chosen, worse ← rejected" in caplog.text


def test_rows_of_several_layouts_are_read_together(caplog: pytest.LogCaptureFixture) -> None:
    rows = [pair(0), {"question": "q1", "answer": "a1"}, pair(2), {"prompt": "q3", "golden": "a"}]
    with caplog.at_level(logging.INFO, logger="seamaug"):
        seeds = seeds_of(rows)
    assert [seed.text for seed in seeds.at(range(4))] == ["q0", "q1", "q2", "q3"]
    assert "from row 2: prompt ← question, golden ← answer" in caplog.text


def test_columns_are_mapped() -> None:
    rows = [{"q": f"q{i}", "good": "a", "bad": ["b", "c"], "n": i} for i in range(3)]
    seeds = seeds_of(rows, columns={"prompt": "q", "golden": "good", "worse": "bad"})
    assert (seeds[2].text, seeds[2].golden, seeds[2].worse) == ("q2", "a", ["b", "c"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_seeds_are_counted(count: int) -> None:
    message = refusal([pair(i) for i in range(count)])
    assert message.startswith(f"rows: {count} seed(s) with a prompt of their own; at least 3")


def test_three_rows_with_two_prompts_are_too_few() -> None:
    assert refusal([pair(0), pair(1), pair(1)]).startswith("rows: 2 seed(s)")
    assert len(seeds_of([pair(0), pair(1), pair(2)])) == 3


def test_bad_rows_are_listed_and_counted() -> None:
    rows = [pair(i, chosen="" if i % 2 else "a") for i in range(20)]
    lines = refusal(rows).splitlines()
    assert lines[0] == "10 of 20 rows are unusable:"
    assert lines[1] == "row 2: field 'chosen' is empty; give it text or remove the row"
    assert lines[-2] == "... and 5 more"
    assert "go on without them: --bad-rows FILE" in lines[-1]
    assert len(lines) == 8


@pytest.mark.parametrize(("row", "kind"), [(3, "int"), ("text", "str"), (None, "NoneType")])
def test_a_row_in_memory_that_is_no_mapping_is_named(row: Any, kind: str) -> None:
    message = refusal([pair(0), row])
    assert f"\nrow 2: expected a mapping of columns to values, found {kind}\n" in message


def test_a_missing_column_in_the_middle_is_named() -> None:
    assert "row 2: field 'rejected' is missing" in refusal(
        [pair(0), {"prompt": "q", "chosen": "a"}, pair(2)]
    )
    assert "\nrow 2: no known layout among the columns frage; map your columns" in refusal(
        [pair(0), {"frage": "q"}]
    )


def test_a_million_characters_are_kept_whole() -> None:
    seeds = seeds_of([pair(0), pair(1, prompt="word " * 200_000), pair(2)])
    assert len(seeds[1].text) == 1_000_000


def test_the_fingerprint_covers_what_a_run_takes_from_the_seeds() -> None:
    base = [pair(i) for i in range(3)]
    known = {seeds_of(base).fingerprint, seeds_of([dict(row) for row in base]).fingerprint}
    assert len(known) == 1
    for change in (
        {"prompt": "other"},
        {"chosen": "other"},
        {"rejected": "other"},
        {"source": "s"},
        {"licence": "l"},
    ):
        known.add(seeds_of([*base[:2], {**base[2], **change}]).fingerprint)
    known.add(seeds_of(base[::-1]).fingerprint)
    assert len(known) == 7
    unused = [{**row, "score": 1} for row in base]
    assert seeds_of(unused).fingerprint in known


def test_rows_are_located_as_given() -> None:
    rows = [pair(0, extra=[1])]
    found = Sieve().each(FROM_MEMORY, rows, lambda row, where: (where, row))
    assert list(found) == [("row 1", rows[0])]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
NAME = st.one_of(st.sampled_from(["prompt", "chosen", "rejected", "messages", "golden"]), st.text())
ROW = st.one_of(
    JSON,
    st.dictionaries(NAME, JSON, max_size=5),
    st.builds(pair, st.integers(0, 9)),
    st.builds(lambda n, value: pair(n, rejected=value), st.integers(0, 9), JSON),
)


@settings(deadline=None, database=None, max_examples=300, derandomize=True)
@given(st.lists(ROW, max_size=6))
def test_any_rows_are_seeds_or_an_input_error(rows: list[Any]) -> None:
    try:
        seeds = seeds_of(rows)
    except InputError:
        return
    assert 3 <= len(seeds) <= seeds.rows_read == len(rows)
    assert len(set(seeds.ids)) == len(seeds)


@settings(deadline=None, database=None, max_examples=200, derandomize=True)
@given(st.lists(ROW, max_size=5))
def test_any_json_lines_are_seeds_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = ""
    try:
        assert len(read_seeds(SeedsConfig(paths=(str(path),)))) >= 3
    except InputError as error:
        said = str(error)
    assert not said or str(path) in said
