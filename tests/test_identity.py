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
LLM = {
    "score.estimators": ["llm"],
    "generator.name": "some-llm",
    "generator.engine": "server",
    "generator.url": "http://a/v1",
    "generator.price_in": 1,
    "generator.price_out": 1,
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SERVER, {**SERVER, "policy.url": "http://b:1/v1"}),
        (SERVER, {**SERVER, "policy.api_key_env": "KEY"}),
        (VLLM, {**VLLM, "reward.engine_options": {"gpu_memory_utilization": 0.3}}),
        (VLLM, {**VLLM, "reward.engine_options": {"tensor_parallel_size": 2}}),
        ({}, {"policy.batch_tokens": 5}),
        ({}, {"generator.batch_tokens": 5}),
        (LLM, {**LLM, "max_tokens": "2M", "max_cost": 1}),
        *(
            (LLM, {**LLM, f"generator.{name}": value})
            for name, value in (
                ("url", "http://b/v1"),
                ("api_key_env", "KEY"),
                ("in_flight", 3),
                ("timeout", "5s"),
                ("attempts", 2),
                ("patience", "5m"),
                ("price_in", 2),
            )
        ),
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
        (LLM, {**LLM, "generator.engine_options": {"top_k": 5}}),
        (LLM, {**LLM, "generator.served_name": "x"}),
        (LLM, {**LLM, "generator.structured": False}),
        (LLM, {**LLM, "generator.max_new_tokens": 9}),
    ],
)
def test_what_computes_the_scores_may_not(
    seeds: Seeds, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert identity(seeds, before) != identity(seeds, after)
