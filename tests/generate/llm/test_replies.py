"""Replies are read as LLMs write them, and what cannot be read is said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.generate.llm.fences import fence_key
from seamaug.generate.llm.replies import Form, ReplyError
from seamaug.models.engines import Reply

KEY = "0a1b2c3d"
ONE = Form(("request",))
TWO = Form(("request", "response"))
WORSE = Form(("mistake", "response"), 3)


def tagged(**texts: str) -> str:
    return "\n".join(f"<{name}-{KEY}>\n{text}\n</{name}-{KEY}>" for name, text in texts.items())


def read(form: Form, text: str, *, cut: bool = False) -> list[dict[str, str]]:
    return form.read(Reply(text, cut=cut), KEY)


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


def answers(*texts: str) -> str:
    return "\n".join(tagged(mistake="m", response=text) for text in texts)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (answers("a", "b", "c"), ["a", "b", "c"]),
        (answers("a", "", "c"), ["a", "", "c"]),  # each keeps its place
        (answers("a", "b"), ["a", "b"]),
        (answers("x", "a", "b", "c"), ["a", "b", "c"]),
        ("\n".join(f"<response-{KEY}>{t}</response-{KEY}>" for t in "abc"), ["a", "b", "c"]),
        (json.dumps({"answers": [{"mistake": "m", "response": t} for t in "abc"]}), list("abc")),
        (json.dumps([{"response": t} for t in "ab"]), ["a", "b"]),
        (json.dumps({"answers": [{"response": "a"}, {"wrong": "b"}, 3]}), ["a"]),
        (answers("a") + f"<response-{KEY}>and b", ["a", "and b"]),
    ],
)
def test_several_answers(reply: str, found: list[str]) -> None:
    assert [answer["response"] for answer in read(WORSE, reply)] == found


def test_of_several_answers_those_that_are_whole_count() -> None:
    cut = answers("a") + f"<response-{KEY}>cut off at the lim"
    assert read(WORSE, cut, cut=True) == [{"response": "a"}]
    assert read(WORSE, '{"answers": [{"response": "a"}, {"respon', cut=True) == [{"response": "a"}]
    with pytest.raises(ReplyError, match="cut off"):
        read(WORSE, f"<response-{KEY}>cut off at the lim", cut=True)


# --- round trips

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(TEXTS, TEXTS)
def test_any_text_comes_back(request: str, response: str) -> None:
    key = fence_key([request, response])
    rows: list[dict[str, Any]] = [{"request": request.strip(), "response": response.strip()}]
    asked = TWO.instructions(key, structured=False)
    assert f"</request-{key}>" in asked
    said = "".join(f"<{n}-{key}>\n{t}\n</{n}-{key}>" for n, t in rows[0].items())
    assert TWO.read(Reply(said), key) == rows
    assert TWO.read(Reply(json.dumps(rows[0])), key) == rows
    assert TWO.read(Reply(json.dumps(rows[0], ensure_ascii=False)), key) == rows


@given(st.text(), st.booleans())
def test_any_reply_is_read_or_refused(text: str, cut: bool) -> None:
    for form in (ONE, TWO, WORSE):
        try:
            found = form.read(Reply(text, cut=cut), KEY)
        except ReplyError:
            continue
        assert 0 < len(found) <= form.answers
        assert all(set(row) == set(form.needed) for row in found)


# --- what is asked for


def test_schema_and_instructions_ask_for_the_same() -> None:
    schema = WORSE.schema()["properties"]["answers"]
    assert (schema["minItems"], schema["maxItems"]) == (3, 3)
    assert schema["items"]["required"] == ["mistake", "response"]  # said first, then done
    assert not schema["items"]["additionalProperties"]
    assert Form(("better",)).schema()["properties"] == {
        "better": {"type": "string", "enum": ["A", "B", "T"]}
    }
    assert TWO.schema()["required"] == ["request", "response"]
    assert list(json.loads(TWO.instructions(KEY, structured=True).split("\n", 1)[1])) == [
        "request", "response"
    ]  # fmt: skip
    assert "3 answers" in WORSE.instructions(KEY, structured=False)
    assert "3 answers" in WORSE.instructions(KEY, structured=True)
    assert (ONE.texts, TWO.texts, WORSE.texts) == (1, 2, 3)
