"""What bfloat16 costs: against float32 on small models and on the bundled ones."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.records import user_message
from seamaug.resources import EMBEDDED, resource

NATS_PER_TOKEN = 1e-2
SEEDS = 30


@pytest.fixture(scope="module")
def seeds() -> list[dict[str, str]]:
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(SEEDS), lines, strict=False)]


def per_token(name: str, dtype: Any, seeds: list[dict[str, str]]) -> torch.Tensor:
    """Log P of every token of the seeds' responses, as the policy's head gives them."""
    model = Policy(PolicyConfig(name=name, device="cpu", dtype=dtype))
    found: list[torch.Tensor] = []
    logprobs = model.projection.logprobs

    def kept(*arguments: torch.Tensor) -> torch.Tensor:
        found.append(logprobs(*arguments))
        return found[-1]

    model.projection.logprobs = kept
    model.logprobs(
        [
            (
                model.prompt_ids(user_message(seed["prompt"])),
                model.response_ids([seed["chosen"], seed["rejected"]]),
            )
            for seed in seeds
        ]
    )
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", EMBEDDED])
def test_log_probabilities(
    saved: Callable[..., str], seeds: list[dict[str, str]], kind: str
) -> None:
    # Weights as large as trained ones: those of the other tests are out of proportion.
    changes = {"initializer_range": 0.08, **({"n_positions": 2048} if kind == "gpt2" else {})}
    name = kind if kind == EMBEDDED else saved(kind, "causal", **changes)
    exact, rounded = (per_token(name, dtype, seeds) for dtype in ("float32", "bfloat16"))
    assert len(exact) > 1000
    error = rounded - exact
    assert error.abs().mean() < NATS_PER_TOKEN
    assert error.mean().abs() < NATS_PER_TOKEN / 5, "sums over a response would drift"
    if kind == EMBEDDED:
        sure = exact > -0.05
        assert int(sure.sum()) > 100
        assert error[sure].abs().mean() < NATS_PER_TOKEN / 10


def test_rewards(seeds: list[dict[str, str]]) -> None:
    scores = []
    for dtype in ("float32", "bfloat16"):
        model = RewardModel(RewardConfig(device="cpu", dtype=dtype))
        sets = [
            model.conversation_ids(user_message(seed["prompt"]), [seed["chosen"], seed["rejected"]])
            for seed in seeds
        ]
        scores.append(torch.tensor(model.rewards(sets)).flatten())
    error, spread = (scores[1] - scores[0]).abs(), scores[0].std()
    assert error.mean() < 0.01 * spread  # 0.005 as measured
    assert error.max() < 0.05 * spread  # 0.016 as measured
