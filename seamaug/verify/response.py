"""Whether a response is worse than the golden one."""

import re
from collections import Counter

# Scripts written without spaces count by the character: else a sentence is one word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_FINAL_NUMBER = re.compile(
    r"(?:\bA:|####|answer is:?)\s*\$?(-?[\d,]*\.?\d+)\s*\.?\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?|(?<=-)\d+(?:\.\d+)?")
_LONGEST = 400  # words compared: the comparison is quadratic
_TAIL = 200  # characters searched for a final number: so is the search, in digits


def worse_than_golden(response: str, golden: str, max_overlap: float) -> str:
    """Name of the check that shows `response` to be worse than `golden`; empty if none does.

    Where the golden response ends in a final number, a response is worse if it ends in another
    one, or in none and states the right one nowhere. Elsewhere a response counts as worse if it
    shares less than `max_overlap` with the golden one (ROUGE-L F1, Lin 2004): what a human vouched
    for is taken to be better than what a policy said that says something else.
    """
    response, golden = response.strip(), golden.strip()
    if not response or response == golden:
        return ""
    expected = _FINAL_NUMBER.search(golden[-_TAIL:])
    if expected:
        found = _FINAL_NUMBER.search(response[-_TAIL:])
        if found is not None:
            return "" if _value(found[1]) == _value(expected[1]) else "final number"
        # No final number in a known form: prose may still state the right one.
        stated = {_value(number) for number in _NUMBER.findall(response)}
        return "" if _value(expected[1]) in stated else "final number"
    return "" if _overlaps(response, golden, max_overlap) else "reference overlap"


def _overlaps(text: str, reference: str, limit: float) -> bool:
    """Whether ROUGE-L F1 is `limit` or more; the words in common bound it, and are soon counted."""
    a, b = _words(text), _words(reference)
    if not a or not b or 2 * (Counter(a) & Counter(b)).total() / (len(a) + len(b)) < limit:
        return False
    return rouge_l(text, reference) >= limit


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
