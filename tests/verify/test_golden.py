"""A golden response that an LLM wrote is verified, or the row is rejected."""

from collections.abc import Sequence

import pytest

from seamaug.records import Seed, user_message
from seamaug.verify.golden import NewGolden, NewGoldenCheck
from seamaug.verify.worse import Reference


def case(golden: str, worse: Sequence[str] = (), old: str = "So the answer is 4.") -> NewGolden:
    return NewGolden(user_message("What is 2 + 3?"), golden, old, worse)


class Judge:
    """Finds better what it is told to, or whatever stands first."""

    def __init__(self, better: str) -> None:
        self.better = better
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, cases: Sequence[tuple[Seed, str, str]]) -> list[str]:
        self.asked += [(seed.text, first, second) for seed, first, second in cases]
        found = []
        for _, first, second in cases:
            places = {first: "first", second: "second"}
            found.append("first" if self.better == "position" else places.get(self.better, ""))
        return found


NEW = "So the answer is 5."


def problems(judge: Judge, cases: Sequence[NewGolden]) -> list[str]:
    return [problem for problem, _ in NewGoldenCheck(judge, Reference(0.5))(cases)]


@pytest.mark.parametrize(
    ("better", "problem"),
    [
        (NEW, ""),
        ("So the answer is 4.", "new golden response not verified"),
        ("position", "new golden response not verified"),
        ("neither", "new golden response not verified"),
    ],
)
def test_the_new_response_must_win_in_both_orders(better: str, problem: str) -> None:
    judge = Judge(better)
    assert problems(judge, [case(NEW)]) == [problem]
    old = "So the answer is 4."
    assert judge.asked == [("What is 2 + 3?", NEW, old), ("What is 2 + 3?", old, NEW)]


def test_what_was_worse_must_be_worse_than_the_new_response_too() -> None:
    judge = Judge(NEW)
    wrong, right_now = "So the answer is 7.", "Thus the answer is: 5"
    ((problem, evidence),) = NewGoldenCheck(judge, Reference(0.5))([case(NEW, [wrong])])
    assert (problem, [found.verifier for found in evidence]) == ("", ["final number"])
    judge.asked.clear()
    assert problems(judge, [case(NEW, [wrong, right_now])]) == ["a worse response may be right"]
    assert judge.asked == []  # nor is a judge paid for it


def test_each_case_has_its_own_verdict() -> None:
    cases = [case("So the answer is 4. "), case(NEW), case(NEW, ["A: 5"]), case("Six"), case(NEW)]
    assert problems(Judge(NEW), cases) == [
        "new golden response is the old one",
        "",
        "a worse response may be right",
        "new golden response not verified",
        "",
    ]
    assert problems(Judge(NEW), []) == []
