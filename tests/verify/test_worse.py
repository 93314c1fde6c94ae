"""What shows a response to be worse: a comparison, a vote, a judge."""

from collections.abc import Callable, Sequence

import pytest

from seamaug.config import RewardConfig
from seamaug.errors import ModelError
from seamaug.models.reward import RewardModel
from seamaug.models.rewards import raw_rewards
from seamaug.records import Message, Seed, user_message
from seamaug.verify.worse import Judge, Reference, Vote


def seed(prompt: str, golden: str) -> Seed:
    return Seed(prompt, user_message(prompt), golden, [], "", "", "")


CASES = [
    (seed("1 + 1?", "A: 2"), ["A: 3", "A: 2", "It is two"]),
    (seed("Capital of France?", "Paris, of course"), []),
    (seed("Say something", "the cat sat on the mat"), ["a dog ran", "The cat sat on a mat", ""]),
]


class Fixed:
    """A reward model whose score is the length of the response, or what `scores` says."""

    def __init__(self, scores: dict[str, float] | None = None, max_length: int = 1000) -> None:
        self.scores = scores or {}
        self.max_length = max_length

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        if prompt[0]["content"] == "refused":
            raise ModelError("no such conversation")
        self._texts = getattr(self, "_texts", {})
        rows = [[len(self._texts) + i, *[0] * len(text)] for i, text in enumerate(responses)]
        self._texts |= {row[0]: text for row, text in zip(rows, responses, strict=True)}
        return rows

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        return [
            [self.scores.get(self._texts[row[0]], float(len(row) - 1)) for row in rows]
            for rows in sets
        ]


def test_reference() -> None:
    assert Reference(0.5)(CASES) == [
        ["final number", "", "final number"],
        [],
        ["reference overlap", "", ""],
    ]
    assert Reference(0.99)(CASES)[2] == ["reference overlap", "reference overlap", ""]
    assert Reference(0.5)([]) == []


def test_raw_rewards_leave_out_what_does_not_fit() -> None:
    found = raw_rewards(
        Fixed(max_length=4),
        [
            (user_message("x"), ["a", "too long", "abc"]),
            (user_message("x"), []),
            (user_message("refused"), ["a", "b"]),
            (user_message("x"), ["abcd", "ab"]),
        ],
    )
    assert found == [
        [1.0, pytest.approx(float("nan"), nan_ok=True), 3.0],
        [],
        [pytest.approx(float("nan"), nan_ok=True)] * 2,
        [pytest.approx(float("nan"), nan_ok=True), 2.0],
    ]


def test_more_than_half_must_vote_against() -> None:
    low, high = Fixed({"g": 1.0, "r": 0.0}), Fixed({"g": 1.0, "r": 2.0})
    equal, short = Fixed({"g": 1.0, "r": 1.0}), Fixed({"g": 1.0, "r": 0.0}, max_length=1)
    cases = [(seed("p", "g"), ["r"])]

    def verdict(*judges: Fixed) -> str:
        return Vote(judges)(cases)[0][0]

    assert verdict(low) == "vote"
    assert verdict(high) == verdict(equal) == ""
    assert verdict(low, high) == ""  # a tie is no majority
    assert verdict(low, low, high) == "vote"
    assert verdict(low, high, high) == ""
    # Who cannot read it has no vote against it, and still counts as one of the judges.
    assert verdict(short) == verdict(low, short) == ""
    assert verdict(low, low, short) == "vote"


def test_vote_of_real_reward_models(saved: Callable[..., str]) -> None:
    judges = [
        RewardModel(RewardConfig(name=saved(kind, "reward"), device="cpu", dtype="float32"))
        for kind in ("llama", "qwen2", "gpt2")
    ]
    cases = [
        (seed("Hi", "Hello there"), ["No", "Go away now", "What?", "Hello there"]),
        (seed("Hey", "Hello"), []),
        (seed("1 + 1?", "2"), ["3", "a hundred"]),
    ]
    found = Vote(judges)(cases)
    assert [len(row) for row in found] == [4, 0, 2]
    for (item, texts), row in zip(cases, found, strict=True):
        for text, verdict in zip(texts, row, strict=True):
            against = 0
            for judge in judges:
                ids = judge.conversation_ids(item.prompt, [item.golden, text])
                golden, own = judge.rewards([ids])[0]
                against += own < golden - 1e-4
            assert verdict == ("vote" if against >= 2 else "")
    verdicts = [verdict for row in found for verdict in row]
    assert {"vote", ""} == set(verdicts)
    assert found[0][3] == ""  # as good as the golden response: it is the golden response


def test_a_judge_must_prefer_the_golden_response_in_both_orders() -> None:
    asked: list[tuple[str, str]] = []

    def prefers(cases: Sequence[tuple[Seed, str, str]]) -> list[str]:
        asked.extend((first, second) for _, first, second in cases)
        replies = []
        for _, first, second in cases:
            texts = {"first": first, "second": second}
            if "tie" in texts.values():
                replies.append("")
            elif "position" in texts.values():
                replies.append("first")  # whatever stands there
            else:
                replies.append(next(k for k, text in texts.items() if text != "worse"))
        return replies

    cases = [
        (seed("p", "good"), ["worse", "tie", "position"]),
        (seed("q", "fine"), []),
        (seed("r", "well"), ["worse"]),
    ]
    assert Judge(prefers)(cases) == [["judge", "", ""], [], ["judge"]]
    assert asked[:4] == [
        ("good", "worse"),
        ("good", "tie"),
        ("good", "position"),
        ("well", "worse"),
    ]
    assert asked[4:] == [(second, first) for first, second in asked[:4]]

    def golden_is_worse(cases: Sequence[tuple[Seed, str, str]]) -> list[str]:
        return ["second" if first == "good" else "first" for _, first, _ in cases]

    assert Judge(golden_is_worse)([(seed("p", "good"), ["better"])]) == [[""]]
