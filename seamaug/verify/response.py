"""Comparisons of a response with the golden one."""

import re
from collections import Counter

from seamaug.records import Evidence

# Scripts written without spaces count by the character: else a sentence is one word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_FINAL_NUMBER = re.compile(
    r"(?:\bA:|####|answer is:?)\s*\$?(-?[\d,]*\.?\d+)\s*\.?\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?|(?<=-)\d+(?:\.\d+)?")
_LONGEST = 400  # words compared: the comparison is quadratic
_TAIL = 200  # characters searched for a final number: so is the search, in digits

NUMBER, OVERLAP, MATCH = "final number", "reference overlap", "answer match"


def by_number(response: str, golden: str) -> Evidence | None:
    """Worse if it ends in another final number, or in none and states the right one nowhere.

    None where the golden response ends in no final number.
    """
    expected = _FINAL_NUMBER.search(golden.strip()[-_TAIL:])
    if expected is None:
        return None
    found = _FINAL_NUMBER.search(response.strip()[-_TAIL:])
    if found is not None:
        return Evidence(NUMBER, 1.0, worse=_value(found[1]) != _value(expected[1]))
    # No final number in a known form: prose may still state the right one.
    stated = {_value(number) for number in _NUMBER.findall(response)}
    return Evidence(NUMBER, 1.0, worse=_value(expected[1]) not in stated)


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
