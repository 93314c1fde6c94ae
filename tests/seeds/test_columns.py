"""Columns to prompt, golden and worse responses: known layouts, own mappings, bad fields."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.records import Seed, to_table, user_message
from seamaug.seeds.columns import Layouts, to_seed
from seamaug.seeds.layouts import KNOWN_LAYOUTS, FieldError, find_layout

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hi?"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Why?"},
]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def seed_of(row: dict[str, Any], **mapping: str) -> Seed:
    return to_seed(row, find_layout(row, mapping), "s.jsonl:1")


def problem(row: dict[str, Any], **mapping: str) -> str:
    with pytest.raises(FieldError) as caught:
        seed_of(row, **mapping)
    return str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"question": "q", "chosen": "a", "rejected": "b"},
        {"qid": 1, "question": "q", "response_j": "a", "response_k": "b"},
        {"prompt": "q", "golden": "a", "worse": "b"},
        {"prompt": "q", "golden": "a", "worse": ["b"]},
        {
            "chosen": [*user_message("q"), said("a")],
            "rejected": [*user_message("q"), said("b")],
        },
        {
            "prompt": user_message("q"),
            "chosen": [said("a")],
            "rejected": [said("b")],
        },
        {
            "prompt": "q",
            "chosen": [*user_message("q"), said("a")],
            "rejected": [*user_message("q"), said("b")],
        },
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"},
    ],
    ids=lambda row: "-".join(row) + "-" + type(row.get("chosen")).__name__,
)
def test_preference_layouts_give_the_same_seed(row: dict[str, Any]) -> None:
    seed = seed_of(row)
    assert seed.prompt == user_message("q")
    assert seed.golden.strip() == "a"
    assert [text.strip() for text in seed.worse] == ["b"]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "q", "input": None, "output": "a"},
        {"messages": [*user_message("q"), said("a")]},
        {"prompt": "q", "golden": "a"},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "response": "a"},
        {"instruction": "q", "response": "a"},
        {"question": "q", "answer": "a"},
    ],
    ids=lambda row: "-".join(row),
)
def test_layouts_with_a_golden_response_alone(row: dict[str, Any]) -> None:
    seed = seed_of(row)
    assert (seed.prompt, seed.golden, seed.worse) == (user_message("q"), "a", [])


@pytest.mark.parametrize("layout", KNOWN_LAYOUTS, ids=str)
def test_each_layout_is_found_by_its_own_columns(layout: Any) -> None:
    columns = [name for name in (layout.prompt, layout.golden, layout.worse) if name]
    found = find_layout([*columns, "id", "score"], {})
    assert {found.prompt, found.golden, found.worse} >= set(columns)
    assert f"golden ← {found.golden}" in str(found)


def test_alpaca_input_is_part_of_the_prompt() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}
    assert seed_of(row).prompt == user_message("Translate.\n\nGuten Tag")
    assert str(find_layout(row, {})) == "prompt ← instruction + input, golden ← output"
    assert seed_of(row, prompt="instruction").prompt == user_message("Translate.")


def test_conversations_keep_their_turns() -> None:
    seed = seed_of({"messages": [*TALK, said("Because.")]})
    assert (seed.prompt, seed.golden, seed.text) == (TALK, "Because.", "Why?")
    given_prompt = seed_of({"prompt": TALK, "chosen": "Because.", "rejected": "No."})
    assert given_prompt.prompt == TALK
    assert given_prompt.id == seed.id


def test_transcripts_keep_their_turns() -> None:
    talk = "\n\nHuman: Hi?\n\nAssistant: Hello.\n\nThere: a list.\n\nHuman: Why?\n\nAssistant: "
    seed = seed_of({"chosen": talk + "Because.", "rejected": talk + "No."})
    assert seed.prompt == [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Hello.\n\nThere: a list."},
        {"role": "user", "content": "Why?"},
    ]
    assert (seed.golden, seed.worse) == ("Because.", ["No."])


def test_text_that_only_mentions_a_speaker_is_no_transcript() -> None:
    text = "What does it mean?\n\nHuman: someone\n\nAssistant: a helper"
    assert seed_of({"prompt": text, "golden": "a"}).prompt == user_message(text)


def test_a_conversation_keeps_the_turns_between_its_prompt_and_its_answer() -> None:
    system, *talk = TALK
    row = {"prompt": "Hi?", "chosen": [*talk, said("a")], "rejected": [*talk, said("b")]}
    seed = seed_of(row)
    assert (seed.prompt, seed.golden, seed.worse) == (talk, "a", ["b"])
    rest = {"chosen": [*talk[1:], said("a")], "rejected": [*talk[1:], said("b")]}
    assert seed_of({"prompt": talk[:1], **rest}) == seed
    assert seed_of({**row, "prompt": [system, talk[0]]}).prompt == TALK


def test_responses_to_other_prompts_are_refused() -> None:
    talk, other = [*TALK, said("a")], [*TALK[:2], *user_message("What?"), said("b")]
    differs = "field 'rejected' answers another conversation"
    assert differs in problem({"chosen": talk, "rejected": other})
    assert differs in problem({"prompt": "Hi?", "chosen": talk, "rejected": other})
    assert differs in problem({"prompt": "Why?", "chosen": "a", "rejected": talk})
    row = {"prompt": "What else?", "chosen": talk, "rejected": "b"}
    assert "field 'chosen' is a conversation without the prompt of its row" in problem(row)
    spaced = [{**turn, "content": turn["content"] + "\n"} for turn in TALK]
    assert seed_of({"chosen": talk, "rejected": [*spaced, said("b")]}).worse == ["b"]


@pytest.mark.parametrize("label", [False, 0, "False", "false"])
def test_a_bad_response_is_never_golden(label: Any) -> None:
    row = {"prompt": "q", "completion": "a"}
    assert seed_of({**row, "label": True}).golden == "a"
    assert "field 'label' says that the response is a bad one" in problem({**row, "label": label})


def test_transcripts_may_have_the_line_ends_of_windows() -> None:
    talk = "\r\n\r\nHuman: Hi?\r\n\r\nAssistant: Hello.\r\n\r\nHuman: Why?\r\n\r\nAssistant: "
    seed = seed_of({"chosen": talk + "a", "rejected": talk + "b"})
    assert (seed.prompt, seed.golden, seed.worse) == (TALK[1:], "a", ["b"])


def test_no_part_of_a_row_is_dropped_in_silence() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "chosen": "a", "rejected": "b"}
    assert seed_of(row).prompt == user_message("Translate.\n\nGuten Tag")
    own = {"q": "q", "chosen": "a", "rejected": "b"}
    assert seed_of(own, prompt="q", golden="chosen").worse == ["b"]
    assert seed_of({"messages": [*TALK, said("a")], "rejected": "b"}).worse == ["b"]
    system, *turns = TALK
    orca = {"system": "Be short.", "question": "q", "chosen": "a", "rejected": "b"}
    assert seed_of(orca).prompt == [system, *user_message("q")]
    assert "prompt ← question (after system)" in str(find_layout(orca, {}))
    talk = {"system": "Be short.", "messages": [*turns, said("a")]}
    assert seed_of(talk).prompt == TALK
    assert seed_of({**orca, "system": ""}).prompt == user_message("q")
    calling = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    assert "message 1: calls of tools" in problem({"messages": [turns[0], calling, said("a")]})


def test_null_is_as_if_the_field_were_not_there() -> None:
    layouts = Layouts({})
    row = {"prompt": "q", "golden": None, "worse": None, "chosen": "a", "rejected": "b"}
    assert layouts.seed(row, "").worse == ["b"]
    alone = {"prompt": "q", "golden": "a", "worse": None, "chosen": None, "rejected": None}
    assert layouts.seed(alone, "").golden == "a"
    pairs = Layouts({})
    pairs.seed({"prompt": "q", "chosen": "a", "rejected": "b"}, "")
    with pytest.raises(FieldError, match=r"field 'rejected' must be .* not null"):
        pairs.seed({"prompt": "q", "chosen": "a", "rejected": None}, "")


def test_a_mapping_goes_before_recognition() -> None:
    row = {"prompt": "no", "chosen": "no", "rejected": "no", "q": "q", "good": "a", "bad": "b"}
    seed = seed_of(row, prompt="q", golden="good", worse="bad")
    assert (seed.text, seed.golden, seed.worse) == ("q", "a", ["b"])
    assert seed_of(row, prompt="q", golden="good").worse == []


def test_a_mapping_may_name_one_column_of_a_known_layout() -> None:
    row = {"q": "q", "prompt": "p", "chosen": "a", "rejected": "b", "other": "c"}
    assert seed_of(row, prompt="q").text == "q"
    seed = seed_of(row, worse="other")
    assert (seed.text, seed.worse) == ("p", ["c"])


def test_worse_responses_equal_to_the_golden_one_are_left_out() -> None:
    assert seed_of({"prompt": "q", "golden": "a", "worse": ["a ", "b"]}).worse == ["b"]


def test_source_and_licence_travel() -> None:
    row = {"prompt": "q", "golden": "a", "source": "wiki", "licence": "MIT"}
    seed = seed_of(row)
    assert (seed.source, seed.licence, seed.where) == ("wiki", "MIT", "s.jsonl:1")
    other = seed_of({"prompt": "q", "golden": "a", "set": "wiki", "license": "MIT"})
    assert (other.source, other.licence) == ("wiki", "MIT")
    odd = seed_of({"prompt": "q", "golden": "a", "source": "\ud800", "licence": 3})
    assert (odd.source, odd.licence) == ("?", "3")


def test_unknown_columns_are_listed_with_how_to_map_them() -> None:
    with pytest.raises(FieldError) as caught:
        find_layout(["frage", "antwort"], {})
    message = str(caught.value)
    assert message.startswith("no known layout among the columns frage, antwort; ")
    assert "--column prompt=NAME --column golden=NAME" in message


def test_a_mapped_column_that_is_missing_is_named_with_those_that_exist() -> None:
    with pytest.raises(FieldError) as caught:
        find_layout(["prompt", "chosen"], {"golden": "choosen"})
    assert str(caught.value) == (
        "there is no column 'choosen' (mapped to golden); the columns are prompt, chosen"
    )


@pytest.mark.parametrize("columns", [[], [1, None]])
def test_odd_columns_are_refused(columns: list[Any]) -> None:
    with pytest.raises(FieldError, match="no known layout among the columns"):
        find_layout(columns, {})


@pytest.mark.parametrize(
    ("change", "said_of_it"),
    [
        ({"prompt": ""}, "field 'prompt' is empty"),
        ({"prompt": " \n\t"}, "field 'prompt' is empty"),
        ({"chosen": ""}, "field 'chosen' is empty"),
        ({"rejected": "\u3000"}, "field 'rejected' is empty"),
        ({"prompt": None}, "field 'prompt' must be text or a list of messages, not null"),
        ({"chosen": None}, "field 'chosen' must be text or a list of messages, not null"),
        ({"rejected": None}, "field 'rejected' must be text or a list of messages, not null"),
        ({"prompt": 3}, "field 'prompt' must be text or a list of messages, not int"),
        ({"chosen": {"a": 1}}, "field 'chosen' must be text or a list of messages, not dict"),
        ({"chosen": True}, "field 'chosen' must be text or a list of messages, not bool"),
        ({"prompt": []}, "field 'prompt' is an empty list"),
        ({"rejected": ["b", ""]}, "field 'rejected' is empty"),
        ({"rejected": ["b", 3]}, "field 'rejected', message 0: expected"),
        ({"prompt": "\ud800"}, "field 'prompt' holds a lone surrogate"),
        ({"chosen": "\ud800"}, "field 'chosen' holds a lone surrogate"),
        ({"rejected": ["b", "\udfff"]}, "field 'rejected' holds a lone surrogate"),
        ({"prompt": user_message("\ud800")}, "field 'prompt' holds a lone surrogate"),
        ({"prompt": [said("\udfff"), *user_message("q")]}, "field 'prompt' holds a lone surrogate"),
        ({"prompt": user_message("")}, "field 'prompt' is empty"),
        ({"prompt": "\n\nHuman: \n\nAssistant:"}, "field 'prompt' is empty"),
        ({"prompt": [*TALK, said("x")]}, "field 'prompt': the prompt must end in a user turn"),
        ({"prompt": [{"role": "bot", "content": "x"}]}, "field 'prompt', message 0: expected"),
        ({"prompt": [TALK[0], "x"]}, "field 'prompt', message 1: expected"),
        ({"prompt": [{"role": ["user"], "content": "x"}]}, "message 0: expected"),
        ({"chosen": TALK}, "field 'chosen': the conversation must end in an assistant turn"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], said_of_it: str) -> None:
    row: dict[str, Any] = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert said_of_it in problem({**row, **change})


def test_a_field_that_this_row_lacks_is_named_with_what_it_has() -> None:
    layout = find_layout(["prompt", "chosen", "rejected"], {})
    for name in ("prompt", "chosen", "rejected"):
        row = {"prompt": "q", "chosen": "a", "rejected": "b"}
        del row[name]
        with pytest.raises(FieldError) as caught:
            to_seed(row, layout, "")
        assert str(caught.value) == f"field {name!r} is missing (the row has {', '.join(row)})"


def test_alpaca_input_that_is_no_text_is_named() -> None:
    row = {"instruction": "q", "input": "\ud800", "output": "a"}
    assert "field 'input' holds a lone surrogate" in problem(row)


def test_a_response_without_a_prompt_says_how_to_name_one() -> None:
    for row in ({"chosen": "a", "rejected": "b"}, {"messages": [said("a")]}):
        message = problem(row)
        assert "there is no prompt" in message
        assert "--column prompt=NAME" in message
    assert "--column prompt=NAME" in problem({"frage": "q", "gut": "a"}, golden="gut")


TEXT = st.one_of(st.text(max_size=12), st.just("\ud800"), st.just("\n\nHuman: a\n\nAssistant: b"))
TURN = st.dictionaries(
    st.sampled_from(["role", "content", "x"]),
    st.one_of(st.sampled_from(["user", "assistant", "system"]), TEXT, st.none(), st.integers()),
)
VALUE = st.one_of(
    TEXT,
    st.none(),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.lists(st.one_of(TEXT, TURN, st.integers()), max_size=3),
    st.builds(lambda text: [*user_message(text), said(text)], TEXT),
    TURN,
)
NAMES = sorted({n for lay in KNOWN_LAYOUTS for n in (lay.prompt, lay.golden, lay.worse)} - {""})
COLUMN = st.sampled_from([*NAMES, "input", "source", "licence", "id", "\ud800"])


@settings(deadline=None, database=None, max_examples=800, derandomize=True)
@given(st.dictionaries(COLUMN, VALUE, max_size=6))
def test_any_row_is_a_seed_that_can_be_stored_or_a_named_problem(row: dict[str, Any]) -> None:
    try:
        seed = seed_of(row)
    except FieldError:
        return
    assert seed.prompt[-1]["role"] == "user"
    assert seed.text.strip()
    assert seed.golden.strip()
    assert all(text.strip() != seed.golden.strip() for text in seed.worse)
    stored = to_table([seed], Seed.SCHEMA).to_pylist()[0]
    assert Seed(**stored) == seed
