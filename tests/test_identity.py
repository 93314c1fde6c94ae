"""What may change between start and resume, and what makes another run."""

from typing import Any

import pytest

from seamaug.config import load_config
from seamaug.identity import score_identity
from seamaug.seeds import Seeds, read_seeds

ROWS = [{"prompt": f"Question {i}", "golden": f"Answer {i}"} for i in range(5)]


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    return read_seeds(
        load_config(None, {"seeds.columns": {"prompt": "prompt", "golden": "golden"}}).seeds, ROWS
    )


def identity(seeds: Seeds, settings: dict[str, Any]) -> dict[str, Any]:
    return score_identity(load_config(None, settings), seeds, {"policy": {}})


SERVER = {"policy.engine": "server", "policy.url": "http://a/v1"}
VLLM = {"reward.engine": "vllm"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SERVER, {**SERVER, "policy.url": "http://b:1/v1"}),
        (SERVER, {**SERVER, "policy.api_key_env": "KEY"}),
        (VLLM, {**VLLM, "reward.engine_options": {"gpu_memory_utilization": 0.3}}),
        (VLLM, {**VLLM, "reward.engine_options": {"tensor_parallel_size": 2}}),
        ({}, {"policy.batch_tokens": 5}),
        ({}, {"generator.batch_tokens": 5}),
    ],
)
def test_where_a_model_runs_may_change(
    seeds: Seeds, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert identity(seeds, before) == identity(seeds, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, SERVER),
        ({}, VLLM),
        (SERVER, {**SERVER, "policy.served_name": "x"}),
        (VLLM, {**VLLM, "reward.engine_options": {"quantization": "fp8"}}),
        ({}, {"policy.count_eos": False}),
    ],
)
def test_what_computes_the_scores_may_not(
    seeds: Seeds, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert identity(seeds, before) != identity(seeds, after)
