"""Overlap with evaluation texts: across case and punctuation, and not by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.errors import InputError
from seamaug.records import user_message
from seamaug.verify.contamination import EvaluationTexts, Overlap, Place
from seamaug.verify.text import words

EVALUATION = [
    (Place("a.jsonl", "1"), "The quick brown fox jumps over the lazy dog near the old river."),
    (Place("a.jsonl", "2"), "What is 2 + 2?"),
    (Place("b.csv", "7"), "yes"),
    (Place("b.csv", "8"), "..."),
]


def texts(n: int = 5, rows: list[tuple[Place, str]] = EVALUATION) -> EvaluationTexts:
    return EvaluationTexts(rows, n)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quick brown fox jumps over", "quick brown fox jumps over"),
        ("I saw a QUICK, brown fox -- jumps\nover it!", "quick brown fox jumps over"),
        ("Ｔｈｅ ｑｕｉｃｋ brown fox jumps", "the quick brown fox jumps"),
        ("the quick brown fox leaps over the lazy dog near it", "over the lazy dog near"),
        ("quick brown fox jumps", None),
        ("over jumps fox brown quick", None),
        ("What is 2 + 2?", None),  # as a response, a short text proves nothing
        ("", None),
        ("?!", None),
    ],
)
def test_words_in_a_row(text: str, found: str | None) -> None:
    overlap = texts().of_response(text)
    assert overlap == (None if found is None else Overlap("a.jsonl", "1", found))


@pytest.mark.parametrize(
    ("prompt", "row"),
    [
        ("what is 2+2", "2"),
        ("WHAT... is -- 2 2?", "2"),
        ("So, what is 2 + 2?", None),  # five words: no longer the same whole, and no five in a row
        ("What is 2?", None),
        ("Yes!", "7"),
        ("yes yes", None),
        ("...", None),
    ],
)
def test_a_short_text_overlaps_with_the_same_prompt_alone(prompt: str, row: str | None) -> None:
    overlap = texts().of_prompt(user_message(prompt))
    assert (overlap and overlap.row) == row


def test_all_turns_of_a_prompt_count() -> None:
    turn = {"role": "assistant", "content": "Oh, the quick brown fox jumps"}
    prompt = [*user_message("Hi"), turn, *user_message("Go on")]
    found = texts().of_prompt(prompt)  # type: ignore[arg-type]
    assert found == Overlap("a.jsonl", "1", "the quick brown fox jumps")
    # An earlier short turn is not the question.
    assert texts().of_prompt([*user_message("yes"), *user_message("Go on")]) is None


def test_the_first_row_that_has_it_is_named() -> None:
    rows = [(Place("f", str(i)), f"{i} one two three four five") for i in range(3)]
    found = texts(5, rows).of_response("zero one two three four five six")
    assert found == Overlap("f", "0", "one two three four five")
    assert texts(2, rows[::-1]).of_response("one two") == Overlap("f", "2", "one two")
    short = [(Place("f", "1"), "a b"), (Place("f", "2"), "A, B")]
    assert texts(3, short).of_prompt(user_message("a b")) == Overlap("f", "1", "a b")


def test_rows_with_text_are_counted_and_none_is_an_error() -> None:
    assert len(texts()) == 3
    with pytest.raises(InputError, match="hold no text"):
        texts(5, [(Place("a", "1"), "?!")])
    assert texts(5, [(Place("a", "1"), "yes")]).of_response("a b c d e f") is None


def test_the_fingerprint_is_of_the_words() -> None:
    moved = [(Place("other.txt", row.row), text.upper()) for row, text in EVALUATION]
    assert texts().fingerprint == texts(5, moved).fingerprint
    assert texts().fingerprint != texts(5, EVALUATION[:2]).fingerprint


SHORT = st.lists(st.sampled_from(["a", "b", "été", "ß", "漢字", "don't", "42"]), max_size=8)


@given(st.lists(SHORT, min_size=1, max_size=4), SHORT, st.integers(2, 4))
def test_equals_its_definition(rows: list[list[str]], text: list[str], n: int) -> None:
    def grams(found: list[str]) -> set[tuple[str, ...]]:
        return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}

    evaluation = [words(" ".join(row)) for row in rows]
    if not any(evaluation):
        return
    index = texts(n, [(Place("f", str(i)), ", ".join(row)) for i, row in enumerate(rows)])
    found = words(" ".join(text))
    expected = any(grams(found) & grams(row) for row in evaluation)
    overlap = index.of_response(" -- ".join(text).upper())
    assert (overlap is not None) == expected
    if overlap is not None:
        own = tuple(overlap.words.split())
        assert own in grams(found)
        assert own in grams(evaluation[int(overlap.row)])
    whole = 0 < len(found) < n and found in evaluation
    assert (index.of_prompt(user_message(" ".join(text))) is not None) == (expected or whole)


@given(st.text(), st.text())
def test_any_text_is_looked_at(evaluation: str, text: str) -> None:
    """A prompt that is an evaluation text is always found; nothing raises."""
    rows = [(Place("f", "1"), evaluation), (Place("f", "2"), "a word")]
    index = texts(3, rows)
    index.of_response(text)
    assert (index.of_prompt(user_message(evaluation)) is not None) == bool(words(evaluation))
