"""A golden response that an LLM wrote is verified, or the row is rejected."""

from collections.abc import Sequence

import pytest

from seamaug.models.engines import Preference
from seamaug.records import Failure, Seed, user_message
from seamaug.verify.golden import NewGolden, NewGoldenCheck
from seamaug.verify.worse import Cases, Findings, Reference


def case(golden: str, worse: Sequence[str] = (), old: str = "So the answer is 4.") -> NewGolden:
    return NewGolden(user_message("What is 2 + 3?"), golden, old, worse)


class Judge:
    """Finds better what it is told to, or whatever stands first."""

    def __init__(self, better: str) -> None:
        self.better = better
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        self.asked += [(seed.text, first, second) for seed, first, second in cases]
        found = []
        for _, first, second in cases:
            places = {first: "first", second: "second"}
            found.append("first" if self.better == "position" else places.get(self.better, ""))
        return [Preference(better) for better in found]


NEW = "So the answer is 5."


def problems(judge: Judge, cases: Sequence[NewGolden]) -> list[str]:
    judged = NewGoldenCheck(judge, Reference(0.5).findings)(cases)
    assert not any(own.error for own in judged)
    return [own.problem for own in judged]


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
    (judged,) = NewGoldenCheck(judge, Reference(0.5).findings)([case(NEW, [wrong])])
    assert (judged.problem, [e.verifier for e in judged.evidence]) == ("", ["final number"])
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


@pytest.mark.parametrize("lost", [0, 1])
def test_what_no_judge_was_heard_of_is_no_rejection(lost: int) -> None:
    rounds: list[int] = []

    def prefers(cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        rounds.append(len(cases))
        heard = Preference("first" if len(rounds) == 1 else "second")
        failed = Preference(error="the server answered 500")
        return [failed if i == 0 and len(rounds) == lost + 1 else heard for i in range(len(cases))]

    first, second = NewGoldenCheck(prefers, Reference(0.5).findings)([case(NEW), case(NEW)])
    assert (first.problem, first.error) == ("", "the server answered 500")
    assert (second.problem, second.error) == ("", "")


def test_a_worse_response_that_could_not_be_checked_is_no_rejection() -> None:
    def fails(cases: Cases) -> Findings:
        return [[Failure("the server answered 500") for _ in texts] for _, texts in cases]

    judge = Judge(NEW)
    (judged,) = NewGoldenCheck(judge, fails)([case(NEW, ["So the answer is 7."])])
    assert (judged.problem, judged.error) == ("", "the server answered 500")
    assert judge.asked == []
