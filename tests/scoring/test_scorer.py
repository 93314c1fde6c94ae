"""Both models over response sets: what fits is scored, what does not is named."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.policy import Logprob, Policy
from seamaug.models.reward import RewardModel
from seamaug.records import Message, user_message
from seamaug.resources import resource
from seamaug.scoring.scorer import ResponseSet, Scorer

SHAPE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
LONG = "This goes on and on. " * 30


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    torch.manual_seed(0)
    policy, reward = tmp_path_factory.mktemp("policy"), tmp_path_factory.mktemp("reward")
    LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(policy)
    LlamaForSequenceClassification(LlamaConfig(**SHAPE, num_labels=1)).save_pretrained(reward)
    for folder in (policy, reward):
        AutoTokenizer.from_pretrained(resource("embedded", "policy")).save_pretrained(folder)
    return str(policy), str(reward)


def scorer(
    folders: tuple[str, str], policy_length: int = 60, reward_lengths: Sequence[int] = (60,)
) -> Scorer:
    return Scorer(
        Policy(
            PolicyConfig(name=folders[0], device="cpu", dtype="float32", max_length=policy_length)
        ),
        [
            RewardModel(
                RewardConfig(name=folders[1], device="cpu", dtype="float32", max_length=length)
            )
            for length in reward_lengths
        ],
    )


@pytest.fixture(scope="module")
def whole(folders: tuple[str, str]) -> Scorer:
    return scorer(folders, 2048, [2048])


def of(prompt: str, golden: str, *worse: str) -> ResponseSet:
    return ResponseSet(user_message(prompt), golden, list(worse))


def test_golden_first_and_aligned(whole: Scorer) -> None:
    found = whole.score([of("Hi", "Hello", "Go away", "", "Hello"), of("1 + 1?", "2", "3")])
    assert [result.kept for result in found] == [[0, 1, 2], [0]]
    assert [result.error for result in found] == ["", ""]
    for result, (prompt, texts) in zip(
        found,
        [("Hi", ["Hello", "Go away", "", "Hello"]), ("1 + 1?", ["2", "3"])],
        strict=True,
    ):
        ids = whole.policy.response_ids(texts)
        prompt_ids = whole.policy.prompt_ids(user_message(prompt))
        rows = whole.rewards[0].conversation_ids(user_message(prompt), texts)
        alone = [whole.policy.logprobs([(prompt_ids, [row])])[0][0].total for row in ids]
        assert result.tokens == [len(row) for row in ids]
        assert result.logprobs == pytest.approx(alone, abs=1e-3)
        assert result.rewards[0] == pytest.approx(
            [whole.rewards[0].rewards([[row]])[0][0] for row in rows], abs=1e-4
        )
        assert len(set(result.rewards[0])) > 1


def test_long_worse_response_is_left_out(folders: tuple[str, str], whole: Scorer) -> None:
    small = scorer(folders)
    found = small.score([of("Hi", "Hello", LONG, "Go away", LONG, "No")])[0]
    without = whole.score([of("Hi", "Hello", "Go away", "No")])[0]
    assert found.kept == [1, 3]
    assert found.error == ""
    assert found.tokens == without.tokens
    assert found.logprobs == pytest.approx(without.logprobs, abs=1e-3)
    assert found.rewards[0] == pytest.approx(without.rewards[0], abs=1e-4)


def test_worse_response_without_tokens_is_left_out(folders: tuple[str, str], whole: Scorer) -> None:
    counted = whole.score([of("Hi", "Hello", "", "No")])[0]
    assert counted.kept == [0, 1]  # of its end token
    config = PolicyConfig(name=folders[0], device="cpu", dtype="float32", count_eos=False)
    bare = Scorer(Policy(config), whole.rewards).score([of("Hi", "Hello", "", "No")])[0]
    assert bare.kept == [1]
    assert len(bare.tokens) == len(bare.rewards[0]) == 2


def test_long_golden_response_is_an_error(folders: tuple[str, str], whole: Scorer) -> None:
    small = scorer(folders)
    tokens = len(whole.policy.prompt_ids(user_message("Hi"))) + len(
        whole.policy.response_ids([LONG])[0]
    )
    sets = [of("Hi", "Hello", "No"), of("Hi", LONG, "No"), of("Hey", "Hello", "No")]
    found = small.score(sets)
    assert found[1].error == f"too long for the policy: {tokens:,} tokens, limit 60"
    assert (found[1].logprobs, found[1].tokens, found[1].rewards, found[1].kept) == ([], [], [], [])
    for i in (0, 2):
        alone = whole.score([sets[i]])[0]
        assert found[i].rewards[0] == pytest.approx(alone.rewards[0], abs=1e-4)
        assert found[i].logprobs == pytest.approx(alone.logprobs, abs=1e-3)


def test_long_prompt_among_others(folders: tuple[str, str]) -> None:
    found = scorer(folders).score([of(LONG, "Hello", "No"), of("Hi", "Hello", "No")])
    assert "tokens, limit 60" in found[0].error
    assert (found[1].error, len(found[1].rewards[0])) == ("", 2)


def test_reward_model_may_be_the_shorter_one(folders: tuple[str, str], whole: Scorer) -> None:
    item = of("Hi", LONG, "No")
    tokens = len(whole.rewards[0].conversation_ids(item.prompt, [LONG])[0])
    found = scorer(folders, policy_length=2048).score([item])[0]
    assert found.error == f"too long for the reward model: {tokens:,} tokens, limit 60"


def test_limit_is_inclusive(folders: tuple[str, str], whole: Scorer) -> None:
    item = of("Hi", "Hello there", "No")
    longest = len(whole.policy.prompt_ids(item.prompt)) + len(
        whole.policy.response_ids([item.golden])[0]
    )
    assert scorer(folders, policy_length=longest).score([item])[0].error == ""
    assert scorer(folders, policy_length=longest - 1).score([item])[0].error
    longest = len(whole.rewards[0].conversation_ids(item.prompt, [item.golden])[0])
    assert scorer(folders, reward_lengths=[longest]).score([item])[0].error == ""
    assert scorer(folders, reward_lengths=[longest - 1]).score([item])[0].error


def test_no_sets(whole: Scorer) -> None:
    assert whole.score([]) == []


def test_forgotten_token_ids_are_made_again(whole: Scorer) -> None:
    item = of("Hi", "Hello", "No")
    first = whole.score([item])[0]
    whole._ids.update({str(i): [i] for i in range(100_001)})
    again = whole.score([item])[0]
    assert (again.tokens, again.logprobs) == (first.tokens, first.logprobs)
    assert len(whole._ids) == 2


@pytest.mark.parametrize(("value", "fails"), [(math.nan, True), (math.inf, True), (1.5, False)])
def test_reward_that_is_no_number(
    whole: Scorer, monkeypatch: pytest.MonkeyPatch, value: float, fails: bool
) -> None:
    monkeypatch.setattr(whole.rewards[0], "rewards", lambda sets: [[0.0, value], [0.0, 1.0]])
    found = whole.score([of("Hi", "Hello", "No"), of("Hey", "Hello", "No")])
    assert found[0].error == ("the reward model returned a score that is not a number" * fails)
    assert (found[0].rewards, found[0].kept) == (([], []) if fails else ([[0.0, value]], [0]))
    assert (found[1].error, found[1].rewards) == ("", [[0.0, 1.0]])


@pytest.mark.parametrize(("value", "fails"), [(math.nan, True), (-math.inf, False)])
def test_policy_that_gives_no_number(
    whole: Scorer, monkeypatch: pytest.MonkeyPatch, value: float, fails: bool
) -> None:
    monkeypatch.setattr(
        whole.policy, "logprobs", lambda sets: [[Logprob(-1.0, 1), Logprob(value, 1)]]
    )
    found = whole.score([of("Hi", "Hello", "No")])[0]
    assert found.error == ("the policy returned a score that is not a number" * fails)
    assert len(found.logprobs) == (0 if fails else 2)


def test_an_ensemble_scores_side_by_side_what_all_of_it_can_read(
    folders: tuple[str, str], whole: Scorer
) -> None:
    item = of("Hi", "Hello", "No", "Not at all, not at all", "Go away")
    lengths = [len(r) for r in whole.rewards[0].conversation_ids(item.prompt, item.worse)]
    assert lengths[1] == max(lengths) > lengths[2]
    one = whole.score([item])[0]
    two = scorer(folders, 2048, [2048, 2048]).score([item])[0]
    for row in two.rewards:
        assert row == pytest.approx(one.rewards[0])
    assert (two.kept, two.logprobs) == (one.kept, one.logprobs)

    # Whichever model is the shorter one: a response leaves no hole in the other one's row.
    for limits in ([2048, lengths[1] - 1], [lengths[1] - 1, 2048]):
        found = scorer(folders, 2048, limits).score([item])[0]
        assert found.kept == [0, 2]
        assert (len(found.logprobs), [len(row) for row in found.rewards]) == (3, [3, 3])
        for row in found.rewards:
            assert row == pytest.approx([one.rewards[0][i] for i in (0, 1, 3)], abs=1e-4)
        assert found.logprobs == pytest.approx([one.logprobs[i] for i in (0, 1, 3)], abs=1e-3)

    failed = scorer(folders, 2048, [2048, 3]).score([item])[0]
    assert "too long for the reward model" in failed.error
    assert (failed.rewards, failed.kept) == ([], [])


def test_a_conversation_that_a_template_refuses_fails_alone(
    whole: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = whole.rewards[0].conversation_ids

    def refusing(prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        if prompt[0]["content"] == "Hi":
            raise ModelError("no greetings")
        return own(prompt, responses)

    monkeypatch.setattr(whole.rewards[0], "conversation_ids", refusing)
    found = whole.score([of("Hi", "Hello", "No"), of("Hey", "Hello", "No")])
    assert [result.error for result in found] == ["no greetings", ""]
    assert [len(result.rewards[0]) for result in found[1:]] == [2]
