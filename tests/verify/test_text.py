"""Checks of a variant's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.config import VerifyConfig
from seamaug.verify.text import loses_numbers, main_script, normalised, text_problem

PARENT = "What is the capital of France?"
CONFIG = VerifyConfig()


@pytest.mark.parametrize(
    ("text", "parent", "problem"),
    [
        ("Tell me the capital of France.", PARENT, ""),
        ("", PARENT, "empty"),
        (" \n\t", PARENT, "empty"),
        (PARENT, PARENT, "same as seed"),
        ("  What is\nthe  capital of France? ", PARENT, "same as seed"),
        ("What is the capital of france?", PARENT, ""),
        ("x" * 20_001, "y" * 20_000, "too long"),
        ("x" * 20_000, "y" * 20_000, ""),
        # 30 characters: up to 3 x 30 + 200.
        ("x" * 290, PARENT, ""),
        ("x" * 291, PARENT, "length drift"),
        # 500 characters: down to (500 - 200) / 3.
        ("x" * 100, "y" * 500, ""),
        ("x" * 99, "y" * 500, "length drift"),
        ("Какая столица у Франции?", PARENT, "language drift"),
        ("法国的首都是什么？", PARENT, "language drift"),
        ("12 + 30", PARENT, "language drift"),
        ("Сколько будет 2 + 2 в Paris?", "Сколько будет 2 + 2?", ""),
        ("Hi, 12 + 30 = ?", "12 + 30 = ?", ""),
    ],
)
def test_text_problem(text: str, parent: str, problem: str) -> None:
    assert text_problem(text, parent, CONFIG) == problem


def test_limits_come_from_the_config() -> None:
    assert text_problem("x" * 11, "y" * 11, VerifyConfig(max_chars=10)) == "too long"
    assert text_problem("x" * 211, "y" * 10, VerifyConfig(length_ratio=1.1)) == ""
    assert text_problem("x" * 212, "y" * 10, VerifyConfig(length_ratio=1.1)) == "length drift"


@pytest.mark.parametrize(
    ("text", "parent", "loses"),
    [
        ("3 and 8", "8, then 3", False),
        ("8", "8, then 3", True),
        ("8", "8 and 8", True),
        ("8 8 9", "8 and 8", False),
        ("1000", "1,000", True),
        ("It costs 1,000.", "1,000", False),
        ("0.5", "5", True),
        ("3.50 dollars", "3.50", False),
        ("none", "no number", False),
        ("80", "8", True),
    ],
)
def test_loses_numbers(text: str, parent: str, loses: bool) -> None:
    assert loses_numbers(text, parent) == loses


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello é", "LATIN"),
        ("Привет, ok", "CYRILLIC"),
        ("你好", "CJK"),
        ("ひらがなと漢字", "HIRAGANA"),
        ("12 + 3 = ?", ""),
        ("", ""),
        ("a" * 400 + "я" * 500, "LATIN"),
    ],
)
def test_main_script(text: str, script: str) -> None:
    assert main_script(text) == script


@given(st.text())
def test_white_space_is_no_difference(text: str) -> None:
    assert normalised(f" {text}\n") == normalised(text)
    assert normalised(normalised(text)) == normalised(text)
    assert text_problem(text, text, CONFIG) in ("empty", "same as seed")


def test_normalised() -> None:
    assert normalised(" a\n\n b\u00a0c ") == "a b c"
