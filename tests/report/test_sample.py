"""Samples of a stream, and JSON that may stand in a page."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.printable import printable
from seamaug.report.sample import Lowest, clipped, embedded, within


@given(st.lists(st.integers(), unique=True), st.integers(1, 9), st.randoms())
def test_the_lowest_are_the_same_in_any_order(
    rows: list[int], size: int, draw: random.Random
) -> None:
    draw.shuffle(rows)
    lowest = Lowest[int](size)
    for row in rows:
        if lowest.wants(row):
            lowest.take(row, row)
    assert lowest.rows() == sorted(rows)[:size]


@given(st.text(alphabet=st.characters(codec=None)))
def test_embedded_text_comes_back_and_cannot_end_its_element(text: str) -> None:
    written = embedded({"text": [text]})
    assert json.loads(written) == {"text": [printable(text)]}
    assert not set("<>&\u2028\u2029") & set(written)
    written.encode("utf-8")


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        embedded({"value": float("nan")})


def test_rows_end_where_their_size_does() -> None:
    rows = [["<" * 10]] * 5  # each sign takes six bytes
    assert within(rows, 3 * 65) == rows[:3]
    assert within(rows, 3 * 65 - 1) == rows[:2]
    assert within([], 0) == []


def test_long_text_is_cut_with_a_mark() -> None:
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "abcde…"
