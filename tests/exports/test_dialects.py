"""Each dialect's columns, and that every text comes through as it is."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug import export
from seamaug.exports.example import Example, kept_examples

MESSAGES = "list<element: struct<role: string, content: string>>"
MESSAGE = "struct<role: string, content: string>"
COLUMNS = {
    "trl": {
        "sft": {"messages": MESSAGES},
        "preference": {"chosen": MESSAGES, "rejected": MESSAGES},
        "dpo": {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
        "kto": {"prompt": MESSAGES, "completion": MESSAGES, "label": "bool"},
        "prompts": {"prompt": MESSAGES},
    },
    "openrlhf": {
        "sft": {"messages": MESSAGES},
        "preference": {"chosen": MESSAGES, "rejected": MESSAGES},
        "prompts": {"prompt": MESSAGES, "label": "string", "datasource": "string"},
    },
    "verl": {
        "sft": {"messages": MESSAGES},
        "prompts": {
            "data_source": "string",
            "prompt": MESSAGES,
            "ability": "string",
            "reward_model": "struct<style: string, ground_truth: string>",
            "extra_info": "struct<index: int64, id: string>",
        },
    },
    "llamafactory": {
        "sft": {"messages": MESSAGES},
        "preference": {"conversations": MESSAGES, "chosen": MESSAGE, "rejected": MESSAGE},
        "kto": {"messages": MESSAGES, "label": "bool"},
    },
    "axolotl": {
        "sft": {"messages": MESSAGES},
        "preference": {"chosen": MESSAGES, "rejected": MESSAGES},
        "reward": dict.fromkeys(("system", "input", "chosen", "rejected"), "string"),
        "kto": {"completion": MESSAGES, "label": "bool"},
    },
}
Told = tuple[list[dict[str, str]], str, str, bool]
"""Prompt, response, role of that response's turn, whether it is the chosen one."""


def response(turn: dict[str, str], good: bool, prompt: list[dict[str, str]]) -> Told:
    return (prompt, turn["content"], turn["role"], good)


def whole(turns: list[dict[str, str]], good: bool) -> Told:
    return response(turns[-1], good, turns[:-1])


def read_pair(row: dict[str, Any]) -> list[Told]:
    return [whole(row["chosen"], True), whole(row["rejected"], False)]


def read_dpo(row: dict[str, Any]) -> list[Told]:
    (chosen,), (rejected,) = row["chosen"], row["rejected"]
    return [response(chosen, True, row["prompt"]), response(rejected, False, row["prompt"])]


def read_llamafactory(row: dict[str, Any]) -> list[Told]:
    told = row["conversations"]
    return [response(row["chosen"], True, told), response(row["rejected"], False, told)]


def read_single(row: dict[str, Any]) -> list[Told]:
    prompt = [{"role": "user", "content": row["input"]}]
    if row["system"]:
        prompt = [{"role": "system", "content": row["system"]}, *prompt]
    return [(prompt, row[name], "assistant", name == "chosen") for name in ("chosen", "rejected")]


def read_labelled(row: dict[str, Any]) -> list[Told]:
    turns = [*row.get("prompt", []), *(row.get("completion") or row["messages"])]
    return [whole(turns, row["label"])]


READERS: dict[tuple[str, str], Callable[[dict[str, Any]], list[Told]]] = {
    ("trl", "preference"): read_pair,
    ("openrlhf", "preference"): read_pair,
    ("axolotl", "preference"): read_pair,
    ("trl", "dpo"): read_dpo,
    ("llamafactory", "preference"): read_llamafactory,
    ("axolotl", "reward"): read_single,
    ("trl", "kto"): read_labelled,
    ("llamafactory", "kto"): read_labelled,
    ("axolotl", "kto"): read_labelled,
    **{(name, "sft"): lambda row: [whole(row["messages"], True)] for name in COLUMNS},
}


def expected(example: Example) -> list[Told]:
    prompt = [dict(turn) for turn in example.prompt]
    return [
        (prompt, example.chosen, "assistant", True),
        *((prompt, text, "assistant", False) for text in example.rejected),
    ]


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob("*/train.parquet")):
        yield path.parent.name, path


@pytest.mark.parametrize("name", COLUMNS)
def test_each_form_has_the_columns_that_its_consumer_reads_and_no_other(
    name: str, run: Path
) -> None:
    (done,) = export(run, to=name)
    found = {
        form: {field.name: str(field.type) for field in pq.read_schema(path)}
        for form, path in files(done.path)
    }
    assert found == COLUMNS[name]


@pytest.mark.parametrize(("name", "form"), READERS)
def test_every_text_and_turn_comes_through_as_it_is(name: str, form: str, run: Path) -> None:
    (done,) = export(run, to=name)
    examples = {example.id: example for example in kept_examples(run / "provenance.parquet")}
    told = pq.read_table(done.path / "provenance.parquet").to_pylist()
    mine = [row for row in told if row["file"] == f"{form}/train.parquet"]
    rows = pq.read_table(done.path / form / "train.parquet").to_pylist()
    read: dict[str, list[Told]] = {}
    for origin in mine:
        if origin["row"] is not None:
            said = READERS[name, form](rows[origin["row"]])
            read.setdefault(origin["id"], []).extend(said)
    left_out = {origin["id"] for origin in mine if origin["left_out"]}
    assert read.keys() | left_out == examples.keys()
    assert not read.keys() & left_out
    for key, said in read.items():
        wanted = expected(examples[key])
        if form == "sft":
            wanted = wanted[:1]
        if form == "reward":  # a template adds no empty system turn: that is said in the remarks
            wanted = [
                ([t for t in w[0] if t["content"] or t["role"] != "system"], *w[1:]) for w in wanted
            ]
        assert sorted(said, key=repr) == sorted(wanted, key=repr)


@pytest.mark.parametrize("name", ["trl", "openrlhf", "verl"])
def test_prompts_come_through_with_the_reference_answer(name: str, run: Path) -> None:
    (done,) = export(run, to=name)
    rows = pq.read_table(done.path / "prompts" / "train.parquet").to_pylist()
    kept = list(kept_examples(run / "provenance.parquet"))
    if name == "openrlhf":
        kept = [e for e in kept if "<image>" not in str(e.prompt)]
        assert [row["label"] for row in rows] == [e.chosen for e in kept]
        assert {row["datasource"] for row in rows} == {"augmented"}
    if name == "verl":
        assert [row["reward_model"]["ground_truth"] for row in rows] == [e.chosen for e in kept]
        assert [row["extra_info"]["index"] for row in rows] == list(range(len(kept)))
        assert [row["extra_info"]["id"] for row in rows] == [e.id for e in kept]
        assert {row["data_source"] for row in rows} == {"seamaug"}
    assert [row["prompt"] for row in rows] == [e.prompt for e in kept]


def test_what_a_dialect_cannot_hold_is_left_out_counted_and_named(run: Path) -> None:
    done = {export.name: export for export in export(run, to="llamafactory,axolotl,openrlhf,trl")}
    kept = sum(1 for _ in kept_examples(run / "provenance.parquet"))
    turns = "has turns that do not alternate, which LLaMA-Factory skips"
    assert done["llamafactory"].left_out == {
        form: {turns: 1} for form in ("sft", "preference", "kto")
    }
    assert done["llamafactory"].remarks["sft"] == {
        "has an empty system turn, for which the template's default is taken": 1
    }
    several = "has several turns, which bradley_terry.chat_template cannot hold"
    assert done["axolotl"].left_out == {"reward": {several: 4}}
    assert done["axolotl"].rows["reward/train.parquet"] == {"augmented": kept - 4}
    assert done["axolotl"].remarks["reward"] == {
        "has an empty system turn, which is taken for none": 1
    }
    assert sum(done["axolotl"].remarks["preference"].values()) > 2
    image = "has `<image>` in its prompt, which OpenRLHF takes for a picture"
    assert done["openrlhf"].left_out == {"prompts": {image: 1}}
    assert (done["trl"].left_out, done["trl"].remarks) == ({}, {})
    text = (done["axolotl"].path / "README.md").read_text(encoding="utf-8")
    assert f"- Left out of `reward`: 4, each {several}.\n" in text
    told = pq.read_table(done["axolotl"].path / "provenance.parquet").to_pylist()
    assert [row["row"] for row in told if row["left_out"]] == [None] * 4


def test_rows_of_one_prompt_do_not_stand_together_in_kto(run: Path) -> None:
    """Trainers pair each prompt with the response of the row before, to be a mismatch."""
    for done in export(run, to="trl,llamafactory,axolotl"):
        told = pq.read_table(done.path / "provenance.parquet").to_pylist()
        ids = [row["id"] for row in told if row["file"] == "kto/train.parquet"]
        neighbours = sum(first == second for first, second in pairwise(ids))
        assert neighbours < len(ids) / 20
