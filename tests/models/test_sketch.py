"""Sketched gradients against autograd, on models that were saved and loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, ElectraConfig

from seamaug.config import PolicyConfig
from seamaug.errors import ConfigError, ModelError
from seamaug.models import vocabulary
from seamaug.models.engines import PolicyEngine
from seamaug.models.policy import Policy
from seamaug.models.sketch import HeadGradients
from seamaug.records import user_message
from seamaug.resources import EMBEDDED, resource

VOCABULARY, WIDTH = 512, 32
KINDS = ("llama", "gpt2", "gemma2")
TEXTS = {
    "What is the capital of France?": ("Paris.", "I would say that it is Lyon.", ""),
    "Hi": ("Hello there, how can I help you today? " * 3, "a"),
    "How many pints of red paint were used?": ("There were 6 pints of red paint.",),
}
Sets = list[tuple[list[int], list[list[int]]]]


def policy(folder: str, **changes: Any) -> Policy:
    return Policy(PolicyConfig(**{"device": "cpu", "dtype": "float32", "name": folder, **changes}))


def sets_of(model: Policy, limit: int = VOCABULARY) -> Sets:
    """Prompts and responses, with token ids folded into a small vocabulary."""
    return [
        (
            [i % limit for i in model.prompt_ids(user_message(prompt))],
            [
                [i % limit for i in ids] if text else []
                for ids, text in zip(model.response_ids(texts), texts, strict=True)
            ],
        )
        for prompt, texts in TEXTS.items()
    ]


def whole(model: Policy) -> HeadGradients:
    """Without any projection by signs."""
    return HeadGradients(model, errors=WIDTH, states=WIDTH)


@pytest.fixture(scope="module")
def folders(saved: Callable[..., str]) -> dict[str, str]:
    changes = {"vocab_size": VOCABULARY, "tie_word_embeddings": False}
    return {kind: saved(kind, "causal", **changes) for kind in KINDS}


@pytest.fixture(scope="module")
def llama(folders: dict[str, str]) -> Policy:
    return policy(folders["llama"])


def mean_logprob(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    wanted = torch.tensor(response)[:, None]
    own = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return own.gather(1, wanted).mean()


def with_added_layer(folder: str) -> tuple[Any, torch.Tensor]:
    """A model in float64 and the weights, all 0, of what is added before its projection."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    added = torch.zeros(WIDTH, WIDTH, dtype=torch.float64, requires_grad=True)
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: (inputs[0] + inputs[0] @ added.T,))
    return model, added


def by_autograd(model: Any, added: torch.Tensor, sets: Sets) -> list[torch.Tensor]:
    """Gradient of each response's mean log-probability by the added layer's weights."""
    return [
        torch.autograd.grad(mean_logprob(model, prompt, ids), added)[0]
        for prompt, rows in sets
        for ids in rows
        if ids
    ]


def flat(found: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(found)


@pytest.mark.parametrize("kind", KINDS)
def test_unprojected_sketches_are_the_gradients(folders: dict[str, str], kind: str) -> None:
    model = policy(folders[kind])
    truth, added = with_added_layer(folders[kind])
    sets = sets_of(model)
    found = whole(model).sketches(sets)
    assert [len(rows) for rows in found] == [len(rows) for _, rows in sets]
    assert not found[0][2].any()  # the response of no tokens
    expected = torch.stack(by_autograd(truth, added, sets)).flatten(1).numpy()
    ours = np.delete(flat(found), 2, axis=0)
    errors = np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_kernel_is_the_change_by_a_step_on_the_added_layer(
    folders: dict[str, str], kind: str
) -> None:
    model = policy(folders[kind])
    truth, added = with_added_layer(folders[kind])
    watched, (prompt, (response,)) = sets_of(model)[:2], sets_of(model)[2]
    sketcher = whole(model)
    step = sketcher.sketches([(prompt, [response])])[0][0]
    predicted = np.delete(flat(sketcher.sketches(watched)), 2, axis=0) @ step
    (gradient,) = torch.autograd.grad(mean_logprob(truth, prompt, response), added)
    changes = []
    for eta in (1e-4, -1e-4):
        with torch.no_grad():
            added += eta * gradient
            rows = [mean_logprob(truth, p, ids) for p, own in watched for ids in own if ids]
            changes.append(torch.stack(rows).numpy() / eta)
            added -= eta * gradient
    actual = (changes[0] + changes[1]) / 2
    assert np.abs(predicted - actual).max() / np.abs(actual).max() < 1e-3


def test_projection_is_unbiased_and_better_with_more_rows(llama: Policy) -> None:
    sets = sets_of(llama)
    exact = flat(whole(llama).sketches(sets))
    kernel = exact @ exact.T
    scale = np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal())) + 1e-9
    spread = []
    for rows, states in ((4, 4), (16, 16)):
        errors = []
        for seed in range(60):
            own = flat(HeadGradients(llama, errors=rows, states=states, seed=seed).sketches(sets))
            errors.append((own @ own.T - kernel) / scale)
        mean, deviation = np.mean(errors, 0), np.std(errors, 0)
        assert (np.abs(mean) <= 4 * deviation / 60**0.5 + 1e-6).all()
        spread.append(float(np.sqrt(np.mean(np.square(errors)))))
    assert spread[1] < 0.6 * spread[0] < 0.6


def test_batches_and_slices_do_not_matter(llama: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = sets_of(llama)
    expected = flat(HeadGradients(llama, errors=16, states=8).sketches(sets))
    monkeypatch.setattr(vocabulary, "_ROWS", 3)
    monkeypatch.setattr(vocabulary, "_CPU_SLICE", 1)
    small = policy(llama.config.name, batch_tokens=30)
    unshared = policy(llama.config.name)
    unshared._shared.longest = 0
    for other in (small, unshared):
        found = flat(HeadGradients(other, errors=16, states=8).sketches(sets))
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_same_seed_same_bytes(llama: Policy) -> None:
    sets = sets_of(llama)
    first, again, other = (
        flat(HeadGradients(llama, errors=16, states=8, seed=seed).sketches(sets))
        for seed in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes()
    assert first.shape == (len(first), 128)
    assert first.dtype == np.float32
    assert np.abs(first - other).max() > 0


def test_bfloat16_is_near_float32() -> None:
    found = []
    for dtype in ("float32", "bfloat16"):
        model = policy(EMBEDDED, dtype=dtype)
        found.append(flat(HeadGradients(model).sketches(sets_of(model, limit=4096))))
    exact, rounded = (np.delete(rows, 2, axis=0) for rows in found)
    errors = np.linalg.norm(exact - rounded, axis=1) / np.linalg.norm(exact, axis=1)
    assert errors.max() < 0.03


def test_engines_without_hidden_states_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy\.engine: transformers"):
        HeadGradients(cast(PolicyEngine, object()))


def test_models_without_a_plain_projection_are_refused(tmp_path: Path) -> None:
    # ELECTRA has another layer between its last states and the projection.
    config = ElectraConfig(
        vocab_size=4096, hidden_size=32, embedding_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=64, is_decoder=True, pad_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(resource("embedded", "policy")).save_pretrained(tmp_path)
    model = policy(str(tmp_path))
    assert model.logprobs([([5, 6], [[7, 8]])])[0][0].tokens == 2
    with pytest.raises(ModelError, match="one linear layer"):
        HeadGradients(model)
