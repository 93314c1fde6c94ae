"""Comparisons of a response with the golden one."""

import math
import re
from collections import Counter
from typing import NamedTuple

from seamaug.records import Evidence

# Scripts written without spaces count by the character: else a sentence is one word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_DIGITS = r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_BEFORE, _BEHIND = r"[\s:*_`$€£¥\\(\[]*", r"[\s*_`$\\)\].!]*$"  # Markdown, TeX and currencies
_AMOUNT = (
    rf"{_BEFORE}(?:(?P<number>{_DIGITS})(?:\s*/\s*(?P<by>\d+))?"
    r"|(?P<minus>-?)\\[dt]?frac\{(?P<over>\d+)\}\{(?P<under>\d+)\})"
    r"(?:\s*\\?(?P<percent>%)|(?:\s+[^\W\d_]+){0,2}\s+(?P<unit>[^\W\d_]+))?"
    rf"{_BEHIND}"
)
_MARKED = re.compile(rf"(?:\bA:|####|\banswer(?:\s+is|[*_]*\s*:)){_AMOUNT}", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_INSIDE = re.compile(_AMOUNT)
_TEXT = re.compile(r"\\(?:text|mathrm)\{([^{}]*)\}|\\[,;! ]")
_FRACTION = re.compile(r"(?<![\w./])(\d+)\s*/\s*(\d+)(?![\w/])|\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?|(?<=-)\d+(?:\.\d+)?")
_LONGEST = 400  # words compared: the comparison is quadratic
_TAIL = 200  # characters searched for a final number: so is the search, in digits

NUMBER, OVERLAP, MATCH = "final number", "reference overlap", "answer match"


class _Amount(NamedTuple):
    value: float
    unit: str
    """% or the last word behind it, without an s for several; empty where there is none."""


def by_number(response: str, golden: str) -> Evidence | None:
    r"""Worse if it ends in another final number, or in none and states the right one nowhere.

    A final number stands at the end behind `####`, `A:`, `answer:` or `answer is`, in `\boxed{}`,
    or is all there is; it may be a fraction or per cent, and have a unit of up to three words.
    None where the golden response has none. Numbers in different units are not told apart.
    """
    expected = _final(golden)
    if expected is None:
        return None
    found = _final(response)
    if found is not None:
        return Evidence(NUMBER, 1.0, worse=not _may_be(found, expected))
    # No final number in a known form: prose may still state the right one.
    stated = [_value(number) for number in _NUMBER.findall(response)]
    stated += [_ratio(a or c, b or d) for a, b, c, d in _FRACTION.findall(response)]
    right = any(_may_be(_Amount(value, ""), expected) for value in stated)
    return Evidence(NUMBER, 1.0, worse=not right)


def _final(text: str) -> _Amount | None:
    text = text.strip()
    tail = text[-_TAIL:]
    if boxed := _BOXED.findall(tail):
        return _amount(_INSIDE.fullmatch(_TEXT.sub(r" \1 ", boxed[-1])))
    if marked := _amount(_MARKED.search(tail)):
        return marked
    alone = _amount(_INSIDE.fullmatch(text)) if len(text) <= _TAIL else None
    return alone if alone and alone.unit in ("", "%") else None  # `3 Doors Down` is a name


def _amount(match: re.Match[str] | None) -> _Amount | None:
    if match is None:
        return None
    if match["number"] is None:
        value = _ratio(match["over"], match["under"]) * (-1 if match["minus"] else 1)
    else:
        value = _value(match["number"]) * _ratio("1", match["by"] or "1")
    unit = match["percent"] or (match["unit"] or "").casefold().removesuffix("s")
    return None if math.isnan(value) else _Amount(value, unit)


def _may_be(found: _Amount, expected: _Amount) -> bool:
    """Whether both may be the same amount; 5 km may be 5,000 m."""
    units = {found.unit, expected.unit}
    scales = (1.0, 0.01, 100.0) if units == {"%", ""} else (1.0,)
    same = any(math.isclose(found.value * scale, expected.value, rel_tol=1e-9) for scale in scales)
    return same or len(units - {""}) == 2


def _ratio(over: str, under: str) -> float:
    return float(over) / float(under) if float(under) else math.nan


def by_overlap(response: str, golden: str, limit: float) -> Evidence:
    """Worse if it shares less than `limit` with the golden one (ROUGE-L F1, Lin 2004).

    What a human vouched for is taken to be better than what a policy said that says something else.
    """
    overlap = rouge_l(response, golden)
    return Evidence(OVERLAP, overlap, worse=overlap < limit)


def by_match(response: str, golden: str, answer: re.Pattern[str] | None) -> Evidence | None:
    """Worse if its answer, the last match of `answer` or else all of it, is another one.

    None where the golden response has no answer.
    """
    expected = _answer(golden, answer)
    if expected is None:
        return None
    return Evidence(MATCH, 1.0, worse=_answer(response, answer) != expected)


def _answer(text: str, pattern: re.Pattern[str] | None) -> str | None:
    if pattern is not None:
        matches = [match[pattern.groups] for match in pattern.finditer(text)]
        text = matches[-1] or "" if matches else ""
    return " ".join(text.casefold().split()).removesuffix(".") or None


def passes_for_right(response: str, golden: str, limit: float) -> bool:
    """Whether a comparison of numbers, or else of words, finds nothing wrong with the response.

    The same as `by_number`, or else `by_overlap`, without its score: the words in common bound
    that, and are soon counted.
    """
    response, golden = response.strip(), golden.strip()
    if not response or response == golden:
        return True
    number = by_number(response, golden)
    if number is not None:
        return not number.worse
    a, b = _words(response), _words(golden)
    if not a or not b or 2 * (Counter(a) & Counter(b)).total() / (len(a) + len(b)) < limit:
        return False
    return rouge_l(response, golden) >= limit


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:_LONGEST]


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L F1 over lower-case words, in [0, 1]."""
    a, b = _words(text), _words(reference)
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return 2 * row[-1] / (len(a) + len(b))
