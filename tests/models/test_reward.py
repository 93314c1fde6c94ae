"""Rewards against transformers' own forward pass of one conversation at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from seamaug.config import RewardConfig
from seamaug.errors import ModelError
from seamaug.models.reward import RewardModel
from seamaug.records import user_message

PROMPTS = ("What is the capital of France?", "Hi", "Why is the sky blue? Tell me all about it.")
RESPONSES = (
    ("Paris.", "I do not know, but I would say that it is Lyon.", "", "Paris."),
    ("Hello!",),
    ("Because of 日本 🙂.", "a", "No idea. " * 20),
)


def reward(folder: str, **changes: Any) -> RewardModel:
    return RewardModel(RewardConfig(name=folder, device="cpu", dtype="float32", **changes))


def own_forward(folder: str) -> Callable[[list[int]], float]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def score(ids: list[int]) -> float:
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([ids])).logits[0, 0])

    return score


def sets_of(model: RewardModel) -> list[list[list[int]]]:
    return [
        model.conversation_ids(user_message(prompt), responses)
        for prompt, responses in zip(PROMPTS, RESPONSES, strict=True)
    ]


def flat(values: Sequence[Sequence[float]]) -> list[float]:
    return [value for group in values for value in group]


@pytest.mark.parametrize("batch_tokens", [1, 120, 4096])
@pytest.mark.parametrize(
    ("kind", "changes", "shares"),
    [
        ("llama", {}, True),
        ("gpt2", {}, True),
        ("qwen2", {}, True),
        ("mistral", {}, False),
        ("bert", {}, False),
        ("llama", {"pad_token_id": None}, True),
        ("gpt2", {"pad_token_id": None}, True),
        # The chat template ends each turn with id 1, so the score is read one token earlier.
        ("llama", {"pad_token_id": 1}, True),
        ("gpt2", {"pad_token_id": 1}, True),
    ],
    ids=lambda value: str(value),
)
def test_rewards_equal_transformers(
    saved: Callable[..., str], kind: str, changes: dict[str, Any], shares: bool, batch_tokens: int
) -> None:
    folder = saved(kind, "reward", **changes)
    model, truth = reward(folder, batch_tokens=batch_tokens), own_forward(folder)
    sets = sets_of(model)
    wanted = [truth(row) for group in sets for row in group]
    assert (model._shared.longest > 0) == shares
    assert flat(model.rewards(sets)) == pytest.approx(wanted, abs=1e-4)
    assert flat(model.rewards(sets)) == pytest.approx(wanted, abs=1e-4)
    model._shared.longest = 0
    assert flat(model.rewards(sets)) == pytest.approx(wanted, abs=1e-4)
    assert max(wanted) - min(wanted) > 0.1


@pytest.mark.parametrize("kind", ["fnet", "bert"])
def test_padding_that_shows_is_left_out(saved: Callable[..., str], kind: str) -> None:
    # FNet mixes all positions by a Fourier transform, and has no mask.
    folder = saved(kind, "reward")
    model, truth = reward(folder), own_forward(folder)
    assert model._alike == (kind == "fnet")
    sets = sets_of(model)
    wanted = [truth(row) for group in sets for row in group]
    assert flat(model.rewards(sets)) == pytest.approx(wanted, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(range(6)), max_size=4), max_size=4),
    st.integers(1, 400),
    st.booleans(),
)
def test_rewards_do_not_depend_on_company(
    company: Any, chosen: list[list[int]], batch_tokens: int, shares: bool
) -> None:
    model, rows, truth = company
    model._budget.tokens = batch_tokens
    model._shared.longest = (1 << 30) if shares else 0
    found = model.rewards([[rows[i] for i in group] for group in chosen])
    assert [len(group) for group in found] == [len(group) for group in chosen]
    assert flat(found) == pytest.approx([truth[i] for group in chosen for i in group], abs=1e-4)


@pytest.fixture(scope="module")
def company(saved: Callable[..., str]) -> Any:
    """A model without padding id, six conversations (of which two begin alike) and their scores."""
    folder = saved("llama", "reward", pad_token_id=None)
    model, truth = reward(folder), own_forward(folder)
    rows = [row for group in sets_of(model) for row in group][:6]
    return model, rows, [truth(row) for row in rows]


@pytest.mark.parametrize("shares", [True, False])
def test_lent_padding_is_no_token_of_the_text(saved: Callable[..., str], shares: bool) -> None:
    folder = saved("llama", "reward", pad_token_id=None)
    model, truth = reward(folder), own_forward(folder)
    model._shared.longest = (1 << 30) if shares else 0
    rows = [[5, 6, 7, 8, 9], [5, 6, 4095], [5, 6, 7, 4094], [5, 6, 4093, 4095]]
    wanted = [truth(row) for row in rows]
    assert model.rewards([rows])[0] == pytest.approx(wanted, abs=1e-4)
    assert model.rewards([[row] for row in rows]) == [
        [pytest.approx(value, abs=1e-4)] for value in wanted
    ]


def test_rewards_without_sets(company: Any) -> None:
    assert company[0].rewards([]) == []
    assert company[0].rewards([[], []]) == [[], []]


def test_conversation_is_templated_once(saved: Callable[..., str], tokenizer: Any) -> None:
    model = reward(saved("llama", "reward"))
    ids = model.conversation_ids(user_message("Hi {{ 1 }}"), ["Hello", ""])
    texts = [tokenizer.decode(row) for row in ids]
    assert texts == [
        "<|user|>Hi {{ 1 }}<|assistant|>Hello<|end|>",
        "<|user|>Hi {{ 1 }}<|assistant|><|end|>",
    ]
    plain = reward(model.config.name, chat_template="question_answer")
    row = plain.conversation_ids(user_message("Hi"), ["Hello"])[0]
    assert tokenizer.decode(row) == "Question: Hi\n\nAnswer: Hello<|end|>"


def test_two_labels_are_refused(saved: Callable[..., str]) -> None:
    with pytest.raises(ModelError, match=r"has 2 labels.*num_labels=1"):
        reward(saved("llama", "reward", num_labels=2))


def test_causal_model_is_no_reward_model(saved: Callable[..., str]) -> None:
    folder = saved("llama", "causal", num_labels=1)
    with pytest.raises(ModelError, match=r"lacks trained weights for score\.weight.*reward model"):
        reward(folder)


def test_pickled_weights_are_refused(
    saved: Callable[..., str], copied: Callable[[str], Path]
) -> None:
    folder = copied(saved("llama", "reward"))
    weights = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"reward model .* cannot be loaded.*safetensors"):
        reward(str(folder))


@pytest.mark.parametrize("name", ["./nowhere", "nobody/no-such-model"])
def test_unknown_model(name: str) -> None:
    with pytest.raises(ModelError, match=r"reward model.*(no folder|cannot be loaded)"):
        reward(name)


@pytest.mark.parametrize("batch_tokens", [1, 4096])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "bert"])
def test_features_are_what_scores_are_made_of(
    saved: Callable[..., str], kind: str, batch_tokens: int
) -> None:
    """Scores are their products with the weights, and a constant; read in both ways."""
    model = reward(saved(kind, "reward"), batch_tokens=batch_tokens)
    sets = sets_of(model)
    for _ in range(2):
        scores, features = model.rewards_and_features(sets)
        assert flat(scores) == pytest.approx(flat(model.rewards(sets)), abs=1e-6)
        assert [len(rows) for rows in features] == [len(rows) for rows in sets]
        made = np.concatenate(features) @ model.weights
        assert np.ptp(made - np.array(flat(scores))) < 1e-4
        assert np.ptp(made) > 0.1
        model._shared.longest = 0


def test_a_model_without_a_linear_last_layer_has_no_weights(saved: Callable[..., str]) -> None:
    model = reward(saved("llama", "reward"))
    assert model.weights is not None
    model.model.score = torch.nn.Sequential(model.model.score, torch.nn.Tanh())
    assert model._split_head() is None
    assert model._last_layer() is None
