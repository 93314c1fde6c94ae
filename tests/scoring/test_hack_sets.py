"""Estimators of the hack set: the policy's samples, an LLM's answers, damage that is rewarded."""

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from seamaug.config import (
    AdversarialConfig,
    GeneratorConfig,
    LLMHackConfig,
    OnPolicyConfig,
    PolicyConfig,
    RewardConfig,
)
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.llm.writer import LLMWriter
from seamaug.models.engines import Preference, Reply, Request
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.models.rewards import raw_rewards
from seamaug.records import Evidence, Message, Seed, user_message
from seamaug.scoring.adversarial import PERTURBATIONS, Adversarial
from seamaug.scoring.hack_set import HackSet
from seamaug.scoring.hack_set import Verifier as FindsWorse
from seamaug.scoring.llm import LLMEstimator
from seamaug.scoring.on_policy import OnPolicy
from seamaug.verify.worse import Judge, Reference, Verifier


def seed(prompt: str, golden: str) -> Seed:
    return Seed(f"id of {prompt}", user_message(prompt), golden, [], "", "", "")


def aligned(hack_set: HackSet) -> bool:
    sizes = {len(hack_set.worse), len(hack_set.kinds), len(hack_set.verifiers)}
    sizes.add(len(hack_set.verifier_scores))
    return sizes == {len(hack_set.counts)} and len(set(hack_set.worse)) == len(hack_set.worse)


def everything(name: str = "checked") -> FindsWorse:
    return lambda cases: [[Evidence(name, 0.5) for _ in texts] for _, texts in cases]


SEEDS = [seed("Hi", "Hello there"), seed("What is 1 + 1?", "A: 2"), seed("Bye", "See you")]


# --- on-policy


class Drawn:
    """A policy that says what it is told to."""

    max_length = 100

    def __init__(self, texts: list[list[str]]) -> None:
        self.texts = texts
        self.asked: list[dict[str, Any]] = []

    def sample(self, prompts: Sequence[list[Message]], **arguments: Any) -> list[list[str]]:
        self.asked.append(arguments)
        return self.texts[: len(prompts)]


def test_draws_are_counted_and_only_worse_ones_taken() -> None:
    policy: Any = Drawn(
        [["A: 3", "A: 2", "A: 3", "", "A: 9", "A: 3"], ["A: 2"] * 6, [], ["", "", "", "", "", ""]]
    )
    seeds = [seed(f"{i}", "A: 2") for i in range(4)]
    estimator = OnPolicy(policy, Reference(0.5), OnPolicyConfig(max_new_tokens=7), 6, 0)
    first, right, silent, empty = estimator.hack_sets(range(4), seeds)
    assert all(map(aligned, (first, right, silent, empty)))
    assert (first.worse, first.counts, first.draws) == (["A: 3", "A: 9"], [3, 1], 6)
    assert (first.kinds, first.verifiers) == (["sampled"] * 2, ["final number"] * 2)
    assert first.note == ""
    # Nothing worse among six draws is a finding; no draw at all is a reason to have no score.
    assert (right.worse, right.draws, right.note) == ([], 6, "")
    assert (empty.worse, empty.draws) == ([], 6)
    assert (silent.draws, silent.note) == (0, "the prompt leaves the policy no room for a response")
    assert policy.asked[0]["n"] == 6
    assert policy.asked[0]["max_new_tokens"] == 7
    assert policy.asked[0].get("temperature", 1.0) == policy.asked[0].get("top_p", 1.0) == 1.0


def test_an_empty_draw_is_a_draw_and_no_response() -> None:
    policy: Any = Drawn([["", "x", "", "x"]])
    found = OnPolicy(policy, everything(), OnPolicyConfig(), 4, 0).hack_sets(range(1), SEEDS[:1])
    assert (found[0].worse, found[0].counts, found[0].draws) == (["x"], [2], 4)


def test_a_draw_that_was_not_judged_is_no_evidence() -> None:
    def prefers(cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        return [
            Preference("", "the server answered 500")
            if "down" in first + second
            else Preference("first" if first == own.golden else "second")
            for own, first, second in cases
        ]

    policy: Any = Drawn([["down", "worse", "down", "", "worse", "fine"], ["down", "down 2"]])
    find = Verifier([Judge(prefers)]).findings
    some, none = OnPolicy(policy, find, OnPolicyConfig(), 6, 0).hack_sets(range(2), SEEDS[:2])
    assert (some.worse, some.counts, some.draws) == (["worse", "fine"], [2, 1], 4)
    assert some.note == ("verify: 2 of 6 samples could not be judged: the server answered 500")
    # Without any draw that was judged there is no finding: such a row fails with what it notes.
    assert (none.worse, none.draws) == ([], 0)
    assert none.note.startswith("verify: 2 of 2 samples could not be judged")


def test_each_batch_and_run_draws_its_own() -> None:
    policy: Any = Drawn([["x"]])
    for start, run_seed in ((0, 0), (1, 0), (0, 1), (0, 0)):
        estimator = OnPolicy(policy, everything(), OnPolicyConfig(), 1, run_seed)
        estimator.hack_sets(range(start, start + 1), SEEDS[:1])
    numbers = [asked["seed"] for asked in policy.asked]
    assert numbers[0] == numbers[3]
    assert len(set(numbers)) == 3


@pytest.fixture(scope="module")
def tiny_policy(saved: Callable[..., str]) -> Policy:
    return Policy(PolicyConfig(name=saved("llama", "causal"), device="cpu", dtype="float32"))


def test_samples_of_a_real_policy(tiny_policy: Policy) -> None:
    def drawn(samples: int, verifier: FindsWorse, **settings: Any) -> list[HackSet]:
        config = OnPolicyConfig(max_new_tokens=4, **settings)
        return OnPolicy(tiny_policy, verifier, config, samples, 0).hack_sets(range(3), SEEDS)

    seen: list[str] = []

    def half(
        cases: Sequence[tuple[Seed, Sequence[str]]],
    ) -> list[list[Evidence | None]]:
        for _, texts in cases:
            seen.extend(texts)
        even = Evidence("even")
        return [[even if len(text) % 2 == 0 else None for text in texts] for _, texts in cases]

    all_worse, some, again = drawn(12, everything()), drawn(12, half), drawn(12, half)
    assert again == some
    for whole, part in zip(all_worse, some, strict=True):
        assert aligned(whole)
        assert aligned(part)
        assert whole.draws == part.draws == 12
        assert sum(whole.counts) <= 12  # empty ones are draws, and no responses
        expected = [t for t in whole.worse if len(t) % 2 == 0]
        assert part.worse == expected
    assert "" not in seen
    assert {len(hack_set.worse) for hack_set in some} != {0}


def test_a_prompt_without_room_stands_alone(tiny_policy: Policy) -> None:
    seeds = [SEEDS[0], seed("word " * 300, "Hello"), SEEDS[2]]
    config = OnPolicyConfig(max_new_tokens=4)
    found = OnPolicy(tiny_policy, everything(), config, 3, 0).hack_sets(range(3), seeds)
    assert [hack_set.draws for hack_set in found] == [3, 0, 3]
    assert [bool(hack_set.note) for hack_set in found] == [False, True, False]


def test_a_prompt_that_the_template_refuses_stands_alone(saved: Callable[..., str]) -> None:
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    folder = saved("gpt2", "causal", tokens={"chat_template": template})
    policy = Policy(PolicyConfig(name=folder, device="cpu", dtype="float32"))
    refused: list[Message] = [{"role": "system", "content": "Be brief"}, *SEEDS[0].prompt]
    found = policy.sample(
        [SEEDS[0].prompt, refused, SEEDS[1].prompt], n=2, seed=0, max_new_tokens=3
    )
    assert [len(texts) for texts in found] == [2, 0, 2]


# --- llm


class Replies:
    """Replies to each new request as told, KEY standing for the key of its tags."""

    config = GeneratorConfig(name="scripted", max_new_tokens=10)
    structured = False
    max_length = None

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.said: dict[str, str] = {}
        self.asked: list[Request] = []

    def write(self, requests: Sequence[Request]) -> list[Reply]:
        found = []
        for request in requests:
            content = request.messages[0]["content"]
            if content not in self.said:
                self.asked.append(request)
                self.said[content] = self.replies[len(self.said) % len(self.replies)]
            said = self.said[content]
            if "<response-1-" not in content:  # one answer alone has no number
                said = re.sub(r"-\d-KEY", "-KEY", said)
            found.append(Reply(said.replace("KEY", self.key(request))))
        return found

    def mark_unreadable(self, requests: Sequence[Request]) -> None:
        pass

    @staticmethod
    def key(request: Request) -> str:
        found = re.search(r"</[\w-]+-([0-9a-f]{8})>", request.messages[0]["content"])
        assert found
        return found[1]


def of(*texts: str) -> str:
    return "\n".join(answer(number, text) for number, text in enumerate(texts, 1))


def answer(number: int, text: str) -> str:
    return f"Thought.\n<response-{number}-KEY>{text}</response-{number}-KEY>"


def llm_sets(
    generator: Replies, samples: int = 3, seeds: Sequence[Seed] = SEEDS, **settings: Any
) -> list[HackSet]:
    config = LLMHackConfig(**{"aspects": ("one", "two", "three"), **settings})
    writer = LLMWriter(generator, load_operators())  # type: ignore[arg-type]
    estimator = LLMEstimator(writer, Reference(0.5), config, samples, 0)
    return estimator.hack_sets(range(len(seeds)), seeds)


def test_answers_go_through_the_aspects_in_turn() -> None:
    generator = Replies(of("blue", "green"))
    found = llm_sets(generator, samples=5, per_call=2)
    assert [hack_set.worse for hack_set in found] == [["blue", "green"]] * 3
    assert found[0].kinds == ["one", "two"]  # of the first call; a text counts once
    assert found[0].verifiers == ["reference overlap"] * 2
    assert (found[0].counts, found[0].draws, found[0].note) == ([1, 1], 0, "")
    # 5 answers by two at a time, over three seeds.
    assert len(generator.asked) == 9
    assert [
        re.findall(r"^\d\. .*", request.messages[0]["content"], re.MULTILINE)
        for request in generator.asked[::3]
    ] == [
        ["1. one", "2. two"],
        ["1. three", "2. one"],
        ["1. two"],
    ]
    assert [request.max_new_tokens for request in generator.asked[::3]] == [20, 20, 10]
    assert len({request.seed for request in generator.asked}) == 9
    second, key = generator.asked[1].messages[0]["content"], Replies.key(generator.asked[1])
    assert f"[BEGIN REQUEST {key}]\nWhat is 1 + 1?\n[END REQUEST {key}]" in second
    assert f"[BEGIN RIGHT RESPONSE {key}]\nA: 2\n[END RIGHT RESPONSE {key}]" in second


@pytest.mark.parametrize(
    ("reply", "worse", "kinds"),
    [
        (of("red", "green", "blue"), ["red", "green", "blue"], ["one", "two", "three"]),
        (of("red", "", "blue"), ["red", "blue"], ["one", "three"]),  # each keeps its aspect
        (answer(1, "red") + answer(3, "blue"), ["red", "blue"], ["one", "three"]),
        (answer(3, "blue") + answer(1, "red"), ["red", "blue"], ["one", "three"]),
        (of("red", "red", "blue"), ["red", "blue"], ["one", "three"]),
        (of("red", "Hello there", "hello there!"), ["red"], ["one"]),  # right answers
        (of("red") + "<response-2-KEY>as it comes", ["red", "as it comes"], ["one", "two"]),
        # A model that repeats the task before it does it.
        ("between <response-1-KEY> and </response-1-KEY>.\n" + of("red", "green", "blue"),
         ["red", "green", "blue"], ["one", "two", "three"]),
        (of("{{ prompt }}", "<b>&amp;", "\x1b[31m"), ["{{ prompt }}", "<b>&amp;", "\x1b[31m"],
         ["one", "two", "three"]),
        ("", [], []),
        ("I cannot help with that.", [], []),
        ("</response-KEY></response-KEY>", [], []),
        (of("Hello there"), [], []),
    ],
)  # fmt: skip
def test_whatever_the_llm_replies(reply: str, worse: list[str], kinds: list[str]) -> None:
    found = llm_sets(Replies(reply), seeds=SEEDS[:1])[0]
    assert aligned(found)
    assert (found.worse, found.kinds) == (worse, kinds)
    reason = "the LLM wrote no usable worse answer"
    assert found.note.split(":")[0] == ("" if worse else reason)


def test_one_seed_s_rubbish_is_no_one_else_s() -> None:
    found = llm_sets(Replies(of("red", "green"), "rubbish", of("", "", "blue")))
    assert [hack_set.worse for hack_set in found] == [["red", "green"], [], ["blue"]]
    assert found[2].kinds == ["three"]


# --- adversarial

GOLDENS = [
    "The capital of France is Paris, which lies on the river Seine.",
    "Two and two make four, whatever the day of the week may be.",
    "You should drink water before you are thirsty, says the doctor.",
    "A",
]
TARGETS = [seed(f"Question {i}?", golden) for i, golden in enumerate(GOLDENS)]


@pytest.fixture(scope="module")
def tiny_reward(saved: Callable[..., str]) -> RewardModel:
    return RewardModel(RewardConfig(name=saved("llama", "reward"), device="cpu", dtype="float32"))


class Counted:
    """A reward model that counts the texts it scores."""

    def __init__(self, inner: Any, factor: float = 1.0) -> None:
        self.inner, self.factor = inner, factor
        self.max_length = inner.max_length
        self.texts: dict[str, list[str]] = {}

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> Any:
        self.texts.setdefault(prompt[-1]["content"], []).extend(responses)
        return self.inner.conversation_ids(prompt, responses)

    def rewards(self, sets: Any) -> Any:
        return [[self.factor * value for value in row] for row in self.inner.rewards(sets)]


def searched(engines: Sequence[Any], samples: int = 5, run_seed: int = 0, **settings: Any) -> Any:
    config = AdversarialConfig(**{"calls": 60, "proposals": 12, "beam": 3, **settings})
    estimator = Adversarial(engines, config, samples, run_seed)
    return estimator.hack_sets(range(len(TARGETS)), TARGETS)


def rewards_of(engine: Any, hack_sets: Sequence[HackSet]) -> list[list[float]]:
    return raw_rewards(
        engine, [(s.prompt, h.worse) for s, h in zip(TARGETS, hack_sets, strict=True)]
    )


def test_the_search_finds_what_random_damage_does_not() -> None:
    # A trained model: what one of random weights scores has no slope to climb.
    reward = RewardModel(RewardConfig(device="cpu", dtype="float32"))
    found = rewards_of(reward, searched([reward], calls=120))
    rng = random.Random(0)
    damaged = []
    for target in TARGETS[:3]:
        texts = []
        for _ in range(119):
            words = target.golden.split()
            for _ in range(rng.randint(1, 3)):
                words = PERTURBATIONS[rng.choice(list(PERTURBATIONS))](words, rng)
            texts.append(" ".join(words))
        damaged.append((target.prompt, texts))
    at_random = raw_rewards(reward, damaged)
    golden = raw_rewards(reward, [(t.prompt, [t.golden]) for t in TARGETS[:3]])
    for best, others, own in zip(found[:3], at_random, golden, strict=True):
        assert best == sorted(best, reverse=True)
        assert min(best) > own[0]
        assert np.mean(best) > np.mean(sorted(others)[-5:])


@pytest.mark.parametrize("settings", [{}, {"beam": 1}, {"calls": 7}, {"calls": 1}, {"calls": 2}])
def test_no_more_calls_than_allowed_and_each_text_once(
    tiny_reward: RewardModel, settings: dict[str, int]
) -> None:
    engine = Counted(tiny_reward)
    found = searched([engine], samples=200, **settings)
    most = settings.get("calls", 60)
    for target, hack_set in zip(TARGETS, found, strict=True):
        texts = engine.texts[target.prompt[-1]["content"]]
        assert texts[0] == target.golden
        assert len(texts) == len(set(texts)) <= most
        if target.golden != "A":  # there is little that can be done to it
            assert len(texts) == most
        # All that was tried, less the golden response itself.
        assert sorted(hack_set.worse) == sorted(texts[1:])
        assert aligned(hack_set)
        assert all(len(text) <= 1.5 * len(target.golden) + 80 for text in hack_set.worse)
        assert target.golden not in hack_set.worse
        assert set(hack_set.verifiers) <= {"perturbed golden response"}
        for kind in hack_set.kinds:
            assert set(kind.split(" + ")) <= set(PERTURBATIONS)
        assert bool(hack_set.note) == (not hack_set.worse)


def test_a_search_is_the_seed_s_own_and_the_same_again(tiny_reward: RewardModel) -> None:
    first = searched([tiny_reward])
    assert searched([tiny_reward]) == first
    assert searched([tiny_reward], run_seed=1) != first
    # Whatever else is in the batch, so that a resumed run ends with the same bytes.
    config = AdversarialConfig(calls=60, proposals=12, beam=3)
    alone = Adversarial([tiny_reward], config, 5, 0).hack_sets(range(1, 2), TARGETS[1:2])
    assert alone == first[1:2]


def test_greedy_climbs(tiny_reward: RewardModel) -> None:
    hack_sets = searched([tiny_reward], beam=1, calls=100)
    golden = raw_rewards(tiny_reward, [(t.prompt, [t.golden]) for t in TARGETS])
    for found, own in list(zip(rewards_of(tiny_reward, hack_sets), golden, strict=True))[:3]:
        assert found[0] > own[0]
    assert max(kind.count("+") for h in hack_sets for kind in h.kinds) >= 2  # it goes on from finds


def test_an_ensemble_searches_in_units_of_its_models(
    saved: Callable[..., str], tiny_reward: RewardModel
) -> None:
    once = searched([tiny_reward])
    assert searched([tiny_reward, tiny_reward]) == once
    assert searched([tiny_reward, Counted(tiny_reward, 1024.0)]) == once
    # A loud model does not outvote another one.
    other = RewardModel(RewardConfig(name=saved("qwen2", "reward"), device="cpu", dtype="float32"))
    both = searched([tiny_reward, other])
    assert both not in (once, searched([other]))
    assert searched([tiny_reward, Counted(other, 1024.0)]) == both


def test_a_golden_response_that_a_model_cannot_read(saved: Callable[..., str]) -> None:
    short = RewardModel(
        RewardConfig(name=saved("gpt2", "reward"), device="cpu", dtype="float32", max_length=12)
    )
    found = searched([short])
    assert [bool(hack_set.worse) for hack_set in found] == [False, False, False, True]
    assert found[0].note == "its golden response cannot be perturbed"


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("text", ["A", "a b", "one two three four five"])
def test_damage_leaves_words(name: str, text: str) -> None:
    for number in range(30):
        words = PERTURBATIONS[name](text.split(), random.Random(number))
        assert words
        assert all(words)
