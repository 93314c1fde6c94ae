"""Whether a response is worse than the golden one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.records import Seed, user_message
from seamaug.verify.response import by_match, by_number, by_overlap, rouge_l
from seamaug.verify.worse import Reference

WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


def verdict(response: str, golden: str, max_overlap: float = 0.5) -> str:
    """Name of the check that shows it to be worse; the fast way must say the same."""
    seed = Seed("", user_message("?"), golden, [], "", "", "")
    reference = Reference(max_overlap)
    found = reference([(seed, [response])])[0][0]
    assert reference.is_worse(response, golden) == (found is not None)
    return found.verifier if found else ""


@pytest.mark.parametrize(
    "golden", ["5 + 3 = 8\nA: 8", "#### 8", "The answer is 8.", "answer is: 8"]
)
@pytest.mark.parametrize(
    ("response", "worse"),
    [
        ("So it is 8.\n#### 8", False),
        ("The answer is $8.00", False),
        ("A: 8.", False),
        ("A: 9", True),
        ("A: -8", True),
        ("A: 80", True),
        ("A: 8.5", True),
        # Prose that states the right number is no proof of a mistake.
        ("So he has 8 apples left.", False),
        ("There are 9 of them, not 80.", True),
        ("I do not know.", True),
        ("8 apples at first, so A: 9", True),
    ],
)
def test_final_numbers_are_compared(golden: str, response: str, worse: bool) -> None:
    assert verdict(response, golden) == ("final number" if worse else "")


@pytest.mark.parametrize(
    ("response", "golden", "worse"),
    [
        ("A: 1000", "A: 1,000", False),
        ("A: 1,001", "A: 1,000", True),
        ("A: .5", "A: 0.5", False),
        ("A: -5", "A: 5", True),
        # The last number counts, not one on the way.
        ("A: 3\nA: 4", "A: 3", True),
        ("A: 4\nA: 3", "A: 3", False),
    ],
)
def test_numbers_by_value(response: str, golden: str, worse: bool) -> None:
    assert verdict(response, golden) == ("final number" if worse else "")


@pytest.mark.parametrize(
    "form",
    [
        "{}", "**{}**", "${}$.", "{}%", "Answer: {}", "**Answer:** {}", "The answer is **{}**.",
        r"So \boxed{{{}}}", r"\(\boxed{{{}}}\)", r"Thus \boxed{{{} \text{{ km}}}} in all.",
        "A: {} red apples", "The answer is: £{}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("right", "wrong"), [("42", "41"), ("1,000", "100"), ("-0.5", "0.5"), ("3/4", "4/3")]
)
def test_final_numbers_of_many_forms(form: str, right: str, wrong: str) -> None:
    golden = form.format(right)
    assert verdict(f"Something quite different: #### {right}", golden) == ""
    assert verdict(f"In other words, it is {right} at most.", golden) == ""
    assert verdict(form.format(wrong), golden) == "final number"
    assert verdict(f"It must be {wrong} then.", golden) == "final number"


@pytest.mark.parametrize(
    ("response", "golden", "worse"),
    [
        (r"A: \frac{1}{2}", "A: 0.5", False),
        (r"A: -\dfrac{1}{2}", "A: 0.5", True),
        ("One half, or 1/2 of it", r"\boxed{\frac{1}{2}}", False),
        ("A: 0.5", "50%", False),
        ("A: 50", "50%", False),
        ("A: 5", "50%", True),
        # Nobody says how many of the one are one of the other.
        ("A: 5000 m", "A: 5 km", False),
        ("A: 9 green apples", "A: 8 apples", True),
        ("A: 1 apple", "A: 2 apples", True),
    ],
)
def test_amounts(response: str, golden: str, worse: bool) -> None:
    assert verdict(response, golden) == ("final number" if worse else "")


def test_numbers_beyond_any_float_are_no_crash() -> None:
    long = "9" * 5000
    assert verdict(f"It is {long}/{long}, or {long}, or 1/{long}", "A: 8") == "final number"
    assert verdict(f"It is {long}/7, so 8", "A: 8") == ""


@pytest.mark.parametrize("golden", ["3 Doors Down", "A: 12:30", "A: 5 1/2", "A: 1/0", "No. 5"])
def test_what_is_no_number_is_compared_by_its_words(golden: str) -> None:
    assert verdict("Something else altogether, 7", golden) == "reference overlap"


def test_the_same_number_is_no_proof_however_long_the_reasoning() -> None:
    assert verdict("Because of this. " * 100 + "A: 8", "No idea why. " * 100 + "#### 8") == ""


def test_overlap_where_there_is_no_number() -> None:
    golden = "the quick brown fox jumps"
    assert verdict("a slow dog sleeps here", golden) == "reference overlap"
    assert verdict("the quick brown fox sleeps", golden) == ""
    # 2 x 2 / (5 + 3) is 0.5, and 0.5 no longer counts as worse.
    assert verdict("the quick dog", golden) == ""
    assert verdict("the quick dog", golden, 0.51) == "reference overlap"


@pytest.mark.parametrize("golden", ["yes", "🙂", "!!!", "#### 8", "x" * 3000])
def test_the_golden_response_itself_is_not_worse(golden: str) -> None:
    assert verdict(golden, golden) == ""
    assert verdict(f" {golden}\n", golden) == ""


@pytest.mark.parametrize("golden", ["yes", "#### 8"])
def test_nothing_is_not_shown_to_be_worse(golden: str) -> None:
    assert verdict("", golden) == ""
    assert verdict(" \n", golden) == ""


@pytest.mark.usefixtures("must_end")
@pytest.mark.parametrize("unit", ["1", "A: ", ",", "1,", "- "])
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    text = "A: " + unit * (3_000_000 // len(unit)) + "x"  # days, if quadratic
    assert verdict("no", text) == "reference overlap"
    assert verdict(text, "A: 8") == "final number"


def test_rouge_l_by_hand() -> None:
    # The longest common subsequence is "the cat on the mat": 5 of 6 and 5 of 5 words.
    assert rouge_l("The cat sat on the mat.", "the cat, on the mat") == pytest.approx(10 / 11)
    assert rouge_l("a b c", "c b a") == pytest.approx(1 / 3)
    assert rouge_l("a b", "c d") == 0.0
    assert rouge_l("", "a") == rouge_l("a", "...") == 0.0
    assert rouge_l("A, b!", "a b") == 1.0


def longest(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest(a[:-1], b[:-1])
    return max(longest(a[:-1], b), longest(a, b[:-1]))


@given(WORDS, WORDS)
def test_rouge_l_equals_its_definition(a: list[str], b: list[str]) -> None:
    wanted = 2 * longest(a, b) / (len(a) + len(b)) if a and b else 0.0
    assert rouge_l(" ".join(a), " ".join(b)) == pytest.approx(wanted)


@given(WORDS, WORDS, st.floats(0.01, 1))
def test_the_fast_comparison_is_the_same(a: list[str], b: list[str], limit: float) -> None:
    reference = Reference(limit)
    for end, golden_end in (("", ""), (" A: 3", " A: 4")):
        response, golden = " ".join(a) + end, " ".join(b) + golden_end
        assert reference.is_worse(response, golden) == (verdict(response, golden, limit) != "")


def test_scores_say_how_sure_a_comparison_is() -> None:
    far, near = (by_overlap(text, "a b c d", 0.6) for text in ("a x y z", "a b x y"))
    assert (far.score, near.score) == (0.25, 0.5)
    assert far.worse
    assert near.worse
    assert not by_overlap("a b c", "a b c d", 0.6).worse
    number = by_number("A: 3", "A: 4")
    assert number is not None
    assert (number.score, number.worse) == (1.0, True)
    assert by_number("A: 3", "four") is None  # nothing to compare with: it cannot tell


BOXED = re.compile(r"\\boxed\{([^}]*)\}")


@pytest.mark.parametrize(
    ("response", "golden", "answer", "worse"),
    [
        ("Paris", "paris.", None, False),
        ("  PARIS\n", "Paris", None, False),
        ("Paris, France", "Paris", None, True),
        ("", "Paris", None, True),
        ("x", " ", None, None),
        (r"so \boxed{3}", r"\boxed{3}", BOXED, False),
        (r"first \boxed{3}, then \boxed{4}", r"\boxed{3}", BOXED, True),
        (r"\boxed{ 3 }", r"\boxed{3}", BOXED, False),
        ("3", r"\boxed{3}", BOXED, True),  # no answer where one is due
        (r"\boxed{3}", "3", BOXED, None),
        (r"\boxed{}", r"\boxed{}", BOXED, None),
        ("B", "(B)", re.compile("[A-D]"), False),  # without a group the whole match counts
        ("A or B", "B", re.compile("[A-D]"), False),
        ("straße", "STRASSE", None, False),
    ],
)
def test_match(
    response: str, golden: str, answer: re.Pattern[str] | None, worse: bool | None
) -> None:
    found = by_match(response, golden, answer)
    assert (found and found.worse) == worse
