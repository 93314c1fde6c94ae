"""What shows a response to be worse: a comparison, a vote, a judge."""

from collections.abc import Callable, Sequence

import pytest

from seamaug.config import RewardConfig, WorseConfig
from seamaug.errors import ModelError
from seamaug.models.engines import Preference
from seamaug.models.ensemble import Ensemble
from seamaug.models.reward import RewardModel
from seamaug.models.rewards import raw_rewards
from seamaug.records import Evidence, Failure, Message, Seed, user_message
from seamaug.verify.worse import (
    Cases,
    Findings,
    Judge,
    Reference,
    Verifier,
    Vote,
    make_verifier,
)


def seed(prompt: str, golden: str) -> Seed:
    return Seed(prompt, user_message(prompt), golden, [], "", "", "")


CASES = [
    (seed("1 + 1?", "A: 2"), ["A: 3", "A: 2", "It is two"]),
    (seed("Capital of France?", "Paris, of course"), []),
    (seed("Say something", "the cat sat on the mat"), ["a dog ran", "The cat sat on a mat", ""]),
]


def names(findings: Sequence[Sequence[Evidence | None]]) -> list[list[str]]:
    """Of the checks that show a text to be worse."""
    return [[found.verifier if found else "" for found in row] for row in findings]


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
    assert names(Reference(0.5)(CASES)) == [
        ["final number", "", "final number"],
        [],
        ["reference overlap", "", ""],
    ]
    assert names(Reference(0.99)(CASES))[2] == ["reference overlap", "reference overlap", ""]
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


def test_the_judges_must_agree_that_it_is_worse() -> None:
    def judge(margin: float, max_length: int = 1000) -> Fixed:
        return Fixed({"g": 1.0, "r": 1.0 - margin}, max_length)

    cases = [(seed("p", "g"), ["r"])]

    def voted(*margins: float, more: float = 0.0, spread: float = 1.0) -> Evidence:
        found = Vote(Ensemble([judge(m) for m in margins]), more, spread)(cases)[0][0]
        assert isinstance(found, Evidence)
        assert found.score == pytest.approx(sum(margins) / len(margins))
        return found

    assert voted(0.5).worse
    assert not voted(-0.5).worse
    assert not voted(0.0).worse
    # Mean 1 less the standard deviation: 0 in the first case, 0.5 in the second.
    assert not voted(2.0, 0.0).worse
    assert voted(1.5, 0.5).worse
    assert voted(2.0, 0.0, spread=0.9).worse
    assert voted(2.0, 0.0, spread=0).worse
    assert not voted(1.5, 0.5, more=0.5).worse
    assert voted(1.5, 0.5, more=0.49).worse
    assert not voted(3.0, 3.0, -3.0).worse  # a majority that one contradicts
    # Who cannot read it does not vote; where nobody can, nobody can tell.
    short = judge(-9.0, max_length=1)
    assert Vote(Ensemble([short, judge(1.0)]), 0.0, 1.0)(cases)[0][0] == Evidence("vote", 1.0)
    assert Vote(Ensemble([short, short]), 0.0, 1.0)(cases)[0][0] is None


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
    found = Vote(Ensemble(judges), 0.0, 1.0)(cases)
    assert [len(row) for row in found] == [4, 0, 2]
    for (item, texts), row in zip(cases, found, strict=True):
        for text, evidence in zip(texts, row, strict=True):
            margins = []
            for judge in judges:
                ids = judge.conversation_ids(item.prompt, [item.golden, text])
                golden, own = judge.rewards([ids])[0]
                margins.append(golden - own)
            mean = sum(margins) / 3
            spread = (sum((m - mean) ** 2 for m in margins) / 3) ** 0.5
            assert evidence is not None
            assert evidence.score == pytest.approx(mean, abs=1e-4)
            assert evidence.worse == (mean - spread > 0)


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
        return [Preference(reply) for reply in replies]

    cases = [
        (seed("p", "good"), ["worse", "tie", "position"]),
        (seed("q", "fine"), []),
        (seed("r", "well"), ["worse"]),
    ]
    assert Judge(prefers)(cases) == [
        [
            Evidence("judge", 1.0),
            Evidence("judge", 0.0, worse=False),
            Evidence("judge", 0.5, worse=False),
        ],
        [],
        [Evidence("judge", 1.0)],
    ]
    assert asked[:4] == [
        ("good", "worse"),
        ("good", "tie"),
        ("good", "position"),
        ("well", "worse"),
    ]
    assert asked[4:] == [(second, first) for first, second in asked[:4]]

    def golden_is_worse(cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        return [Preference("second" if first == "good" else "first") for _, first, _ in cases]

    better = Judge(golden_is_worse)([(seed("p", "good"), ["better"])])
    assert better == [[Evidence("judge", 0.0, worse=False)]]


@pytest.mark.parametrize("order", [0, 1])
def test_a_judge_that_fails_finds_nothing(order: int) -> None:
    """In either of the two orders: the other one alone is no verdict."""
    rounds: list[int] = []

    def prefers(cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        rounds.append(len(cases))
        golden = Preference("first" if len(rounds) == 1 else "second")
        failed = Preference(error="the server answered 500")
        lost = len(rounds) == order + 1
        return [failed if lost and "lost" in case[1:] else golden for case in cases]

    assert Judge(prefers)([(seed("p", "good"), ["lost", "worse"])]) == [
        [Failure("the server answered 500"), Evidence("judge", 1.0)]
    ]


# --- several checks


def says(answers: dict[str, bool], name: str, asked: list[str]) -> Callable[..., Findings]:
    """A check that can tell of the texts in `answers` alone."""

    def check(cases: Sequence[tuple[Seed, Sequence[str]]]) -> Findings:
        asked.extend(text for _, texts in cases for text in texts)
        return [
            [Evidence(name, 1.0, worse=answers[t]) if t in answers else None for t in texts]
            for _, texts in cases
        ]

    return check


def test_the_first_check_that_can_tell_decides() -> None:
    first: list[str] = []
    second: list[str] = []
    verifier = Verifier(
        [says({"a": True, "b": False}, "one", first), says({"b": True, "c": True}, "two", second)]
    )
    cases = [(seed("p", "g"), ["a", "b", "c", "d", "a"]), (seed("q", "g"), ["c"])]
    assert names(verifier(cases)) == [["one", "", "two", "", "one"], ["two"]]
    assert first == ["a", "b", "c", "d", "c"]  # each text once
    assert second == ["c", "d", "c"]  # only what the first could not tell of


def test_a_check_that_failed_leaves_it_to_the_next() -> None:
    def fails(cases: Cases) -> Findings:
        return [[Failure("no") for _ in texts] for _, texts in cases]

    cases = [(seed("p", "g"), ["a", "b", "c", "", "g"])]
    told = says({"a": True, "b": False}, "two", [])
    verifier = Verifier([fails, told])
    assert names(verifier(cases)) == [["two", "", "", "", ""]]
    assert verifier.findings(cases) == [
        [Evidence("two", 1.0), Evidence("two", 1.0, worse=False), Failure("no"), None, None]
    ]


def test_empty_texts_and_the_golden_response_are_never_worse() -> None:
    asked: list[str] = []
    everything = says(dict.fromkeys(("", " ", "g", " g\n", "x"), True), "all", asked)
    cases = [(seed("p", "g"), ["", " ", "g", " g\n", "x"])]
    assert names(Verifier([everything])(cases)) == [["", "", "", "", "all"]]
    assert asked == ["x"]


def test_the_configured_checks_in_order() -> None:
    def no_judge(name: str) -> Fixed:
        raise AssertionError("there is no vote")

    def verdicts(*by: str, **settings: str) -> list[list[str]]:
        config = WorseConfig(by=by, **settings)
        return names(
            make_verifier(config, 0.5, no_judge, lambda cases: [Preference("first")] * len(cases))(
                CASES
            )
        )

    number = ["final number", "", "final number"]
    assert verdicts("number", "overlap") == names(Reference(0.5)(CASES))
    assert verdicts("number") == [number, [], ["", "", ""]]
    assert verdicts("number", "match")[2] == ["answer match", "answer match", ""]
    assert verdicts("match", answer=r"\d+")[0] == ["answer match", "", "answer match"]
    assert verdicts("judge") == [["", "", ""], [], ["", "", ""]]  # what stands first: a tie
    voted = make_verifier(
        WorseConfig(by="vote", judges=("a", "b")), 0.5, lambda: Ensemble([Fixed()]), None
    )
    assert names(voted(CASES))[2] == ["vote", "vote", ""]  # longer is better to `Fixed`
