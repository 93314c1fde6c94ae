"""Replies are read as LLMs write them, and what cannot be read is said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.generate.llm.fences import fence_key
from seamaug.generate.llm.replies import Form, ReplyError
from seamaug.models.engines import Reply

KEY = "0a1b2c3d"
ONE = Form(("request",))
TWO = Form(("request", "response"))
WORSE = Form(("mistake", "response"), (1, 2, 3))


def tagged(**texts: str) -> str:
    return "\n".join(f"<{name}-{KEY}>\n{text}\n</{name}-{KEY}>" for name, text in texts.items())


def read(form: Form, text: str, *, cut: bool = False) -> list[dict[str, str]]:
    """In the order of their numbers, of which the only answer has 1."""
    found = form.read(Reply(text, cut=cut), KEY)
    assert list(found) == sorted(found)
    return list(found.values())


# --- one answer


@pytest.mark.parametrize(
    "reply",
    [
        tagged(request="new"),
        f"Sure!\n{tagged(request='new')}\nDone.",
        f"I write it between <request-{KEY}> and </request-{KEY}>.\n{tagged(request='new')}",
        f"<think>a <request-{KEY}> goes first</think>{tagged(request='new')}",
        f"{tagged(request='a draft')}\nBetter:\n{tagged(request='new')}",
        f"```\n{tagged(request='new')}\n```",
        f"<request-{KEY}>new",  # no close at the end of a reply that ended by itself
        "<request>\nnew\n</request>",
        "Here: <request>new",
        '{"request": "new"}',
        '{"request": " new\\n"}',
        '```json\n{"request": "new"}\n```',
        'I think {so}. {"request": "new"} Good?',
        '{"request": "a draft"} or rather {"request": "new", "why": {"request": 1}}',
        '{"answers": [{"request": "new"}]}',
        '[{"request": "new"}]',
    ],
)
def test_ways_to_say_new(reply: str) -> None:
    assert read(ONE, reply) == [{"request": "new"}]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "does not hold request in the form asked for"),
        ("just the text", "does not hold request"),
        (tagged(request=" \n "), "request is empty"),
        ('{"request": ""}', "request is empty"),
        ('{"request": 3}', "does not hold request"),
        ('{"Request": "new"}', "does not hold request"),
        ('{"request": "new', "does not hold request"),
        ("<request>a</request> or <request>b</request>", "does not hold request"),
        ("</request>new<request", "does not hold request"),
        ('{"request": "half \\ud83d"}', "half a character"),
        ("{" * 5000, "does not hold request"),
        ('{"a":' * 3000, "does not hold request"),
        (tagged(response="new"), "does not hold request"),
    ],
)
def test_what_cannot_be_read(reply: str, problem: str) -> None:
    with pytest.raises(ReplyError, match=problem) as caught:
        read(ONE, reply)
    # The reason is what a run counts failures by: nothing of the row may be in it.
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "reply", [f"<request-{KEY}>half", '{"request": "half', "<request>half", "half"]
)
def test_half_a_text_is_none(reply: str) -> None:
    with pytest.raises(ReplyError, match="was cut off at the limit of new tokens; write less"):
        read(ONE, reply, cut=True)


def test_what_is_whole_in_a_cut_reply_counts() -> None:
    assert read(ONE, tagged(request="new") + "\nAs you can see, I", cut=True)
    # But not an object inside the text that was cut.
    with pytest.raises(ReplyError, match="cut off"):
        read(ONE, f'<request-{KEY}>Explain {{"request": "this"}} and', cut=True)


def test_all_fields_must_be_there() -> None:
    assert read(TWO, tagged(request="q", response="a")) == [{"request": "q", "response": "a"}]
    assert read(TWO, tagged(response="a", request="q")) == [{"request": "q", "response": "a"}]
    for half in (tagged(request="q"), '{"request": "q"}', tagged(request="q", response="")):
        with pytest.raises(ReplyError):
            read(TWO, half)


def test_tags_and_braces_of_the_text_itself_stay() -> None:
    text = '<request>{"request": "no"}</request> </rewrite> [END REQUEST]'
    assert read(ONE, tagged(request=text)) == [{"request": text}]
    assert read(ONE, json.dumps({"request": text})) == [{"request": text}]
    assert read(ONE, json.dumps({"request": tagged(request="x")}))[0]["request"].startswith("<req")


# --- several answers


def numbered(number: int, text: str) -> str:
    return "\n".join(
        f"<{name}-{number}-{KEY}>\n{said}\n</{name}-{number}-{KEY}>"
        for name, said in (("mistake", "m"), ("response", text))
    )


def answers(*texts: str) -> str:
    return "\n".join(numbered(number, text) for number, text in enumerate(texts, 1))


def as_json(**texts: str) -> str:
    return json.dumps({n.strip("_"): {"mistake": "m", "response": t} for n, t in texts.items()})


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (answers("a", "b", "c"), {1: "a", 2: "b", 3: "c"}),
        (numbered(3, "c") + numbered(1, "a"), {1: "a", 3: "c"}),  # whatever the order
        (answers("a", "", "c"), {1: "a", 3: "c"}),
        (answers("a", "half \ud83d", "c"), {1: "a", 3: "c"}),
        (answers("a", "b", "c", "d"), {1: "a", 2: "b", 3: "c"}),  # no one asked for a fourth
        (answers("a draft", "b") + numbered(1, "a"), {1: "a", 2: "b"}),
        (
            "".join(f"<response-{n}-{KEY}>{n}</response-{n}-{KEY}>" for n in (1, 2)),
            {1: "1", 2: "2"},
        ),
        (as_json(_1="a", _2="b", _3="c"), {1: "a", 2: "b", 3: "c"}),
        (as_json(_2="b", _4="d"), {2: "b"}),
        (json.dumps({"1": {"response": "a"}, "2": {"wrong": "b"}, "3": 3}), {1: "a"}),
        (f"{as_json(_1='a')} and {as_json(_3='c')}", {1: "a", 3: "c"}),
        (numbered(1, "a") + f"<response-3-{KEY}>and c", {1: "a", 3: "and c"}),
        # A text that holds another answer's tags is more than one text.
        (f"<response-1-{KEY}>a" + numbered(2, "b"), {2: "b"}),
        (f"<response-1-{KEY}>a</response-2-{KEY}>" + numbered(3, "c"), {3: "c"}),
    ],
)
def test_each_of_several_answers_says_which_it_is(reply: str, found: dict[int, str]) -> None:
    said = WORSE.read(Reply(reply), KEY)
    assert {number: answer["response"] for number, answer in said.items()} == found


@pytest.mark.parametrize(
    "reply",
    [
        "".join(tagged(mistake="m", response=text) for text in "abc"),
        json.dumps({"answers": [{"mistake": "m", "response": text} for text in "abc"]}),
        json.dumps([{"response": text} for text in "abc"]),
    ],
)
def test_answers_without_numbers_could_be_anyone_s(reply: str) -> None:
    with pytest.raises(ReplyError, match="does not hold response in the form asked for"):
        read(WORSE, reply)


def test_of_several_answers_those_that_are_whole_count() -> None:
    cut = answers("a") + f"<response-2-{KEY}>cut off at the lim"
    assert read(WORSE, cut, cut=True) == [{"response": "a"}]
    assert read(WORSE, 'So: {"1": {"response": "a"}} {"2": {"respon', cut=True) == [
        {"response": "a"}
    ]
    with pytest.raises(ReplyError, match="cut off"):
        read(WORSE, f"<response-1-{KEY}>cut off at the lim", cut=True)


def test_what_is_missing_is_a_form_of_its_own() -> None:
    assert WORSE.without({1: {}, 3: {}}) == Form(("mistake", "response"), (2,))
    assert WORSE.without({}) == WORSE
    assert WORSE.without({1: {}, 2: {}, 3: {}}) is None
    assert TWO.without({}) == TWO
    assert TWO.without({1: {}}) is None


# --- round trips

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(TEXTS, TEXTS)
def test_any_text_comes_back(request: str, response: str) -> None:
    key = fence_key([request, response])
    row = {"request": request.strip(), "response": response.strip()}
    asked = TWO.instructions(key, structured=False)
    assert f"</request-{key}>" in asked
    said = "".join(f"<{n}-{key}>\n{t}\n</{n}-{key}>" for n, t in row.items())
    for reply in (said, json.dumps(row), json.dumps(row, ensure_ascii=False)):
        assert TWO.read(Reply(reply), key) == {1: row}


@given(st.text(), st.booleans())
def test_any_reply_is_read_or_refused(text: str, cut: bool) -> None:
    for form in (ONE, TWO, WORSE):
        try:
            found = form.read(Reply(text, cut=cut), KEY)
        except ReplyError:
            continue
        assert found
        assert set(found) <= set(form.numbers or (1,))
        assert all(set(row) == set(form.needed) for row in found.values())


# --- what is asked for


def test_schema_and_instructions_ask_for_the_same() -> None:
    schema = WORSE.schema()
    assert schema["required"] == ["1", "2", "3"]
    one = schema["properties"]["2"]
    assert one["required"] == ["mistake", "response"]  # said first, then done
    assert not schema["additionalProperties"]
    assert not one["additionalProperties"]
    assert Form(("better",)).schema()["properties"] == {
        "better": {"type": "string", "enum": ["A", "B", "T"]}
    }
    assert TWO.schema()["required"] == ["request", "response"]
    assert list(json.loads(TWO.instructions(KEY, structured=True).split("\n", 1)[1])) == [
        "request", "response"
    ]  # fmt: skip
    assert json.loads(WORSE.instructions(KEY, structured=True).split("\n", 1)[1]).keys() == {*"123"}
    told = WORSE.instructions(KEY, structured=False)
    assert all(f"</response-{number}-{KEY}>" in told for number in (1, 2, 3))
    assert "the numbers are those of the list above" in told
    assert (ONE.texts, TWO.texts, WORSE.texts) == (1, 2, 3)
