"""The benchmark's machinery: every engine answers alike, and the results hold every figure."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
HAS_HFLM = importlib.util.find_spec("lm_eval") is not None
OURS = {"seamaug float32", "seamaug auto"}
POLICY = OURS | {"published"}
REWARD = OURS | {"pipeline, one at a time", "padded batches of 16", "padded batches of 32"}


def measured(out: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / "scoring.py"), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("bench") / "scoring.json", "--quick")


@pytest.mark.parametrize("workload", ["short", "long"])
@pytest.mark.parametrize("role", ["policy", "reward"])
def test_engines_give_the_same_answers(result: dict[str, Any], workload: str, role: str) -> None:
    part = result["models"]["tiny"][workload][role]
    harness = {"hflm float32", "hflm bfloat16"} if HAS_HFLM and role == "policy" else set()
    assert set(part["engines"]) == (POLICY if role == "policy" else REWARD) | harness
    for name, engine in part["engines"].items():
        assert 0 < engine["seconds"]["min"] <= engine["seconds"]["median"], name
        if engine["dtype"] == "float32":
            assert engine["agrees"], (name, engine["max_difference"])
        # Beside this the differences are small; were all answers alike, agreeing would be easy.
        assert engine["max_difference"] < part["spread"] / 20, name


@pytest.mark.parametrize("workload", ["short", "long"])
def test_peers_are_given_the_same_tokens(result: dict[str, Any], workload: str) -> None:
    parts = result["models"]["tiny"][workload]
    assert parts["reward"]["peers_score_the_same_ids"]
    if HAS_HFLM:
        assert parts["policy"]["engines"]["hflm float32"]["public_path_scores_the_same_ids"]
    if workload == "long":
        assert min(parts["policy"]["prompt_tokens"]) >= 256


def test_results_say_what_was_measured_and_on_what(result: dict[str, Any]) -> None:
    assert result["machine"]["cpu"]
    assert result["machine"]["threads"] >= 1
    assert {"python", "torch", "transformers", "seamaug", "lm_eval"} <= set(result["versions"])
    assert "--shape tiny" in result["command"]
    assert "/" not in result["command"].removeprefix("python benchmarks/scoring.py")
    whats = [line["what"] for line in result["targets"]]
    assert any("long, reward: seamaug float32 over padded batches" in what for what in whats)
    assert all(line["measured"] > 0 for line in result["targets"])
    for item in result["memory"]:
        assert 0 < item["peak_above_loading_gib"] < 1.5
        assert item["tokens_scored"] >= item["batch_tokens"]
    for parts in result["models"]["tiny"].values():
        for role in ("policy", "reward"):
            for ours in OURS:
                assert parts[role]["efficiency"][ours]["share"] > 0
                assert 0.5 < sum(parts[role]["operators"][ours].values()) <= 1.01


def test_useful_work_is_that_of_the_models_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the config against counting every linear layer of the model at work."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    flops: ModuleType = importlib.import_module("flops")
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    model = LlamaForCausalLM(config)
    counted = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(
                lambda layer, states, _: counted.append(
                    2 * layer.in_features * layer.out_features * states[0].shape[1]
                )
            )
    # A prompt of 5 tokens and one response of 4: its last token need not be read.
    model(input_ids=torch.arange(8)[None], logits_to_keep=4)
    useful = flops.products(config, [(5, [4])], head=True)
    assert sum(layer.flops for layer in useful.values()) == sum(counted)
    # Two matrix products of 8 queries with 1 … 8 keys, 32 wide, in 2 layers.
    assert flops.attention_flops(config, [(5, [4])]) == 2 * 2 * 32 * 36 * 2


@pytest.mark.skipif(not HAS_HFLM, reason="the harness is the only peer of large models")
def test_bfloat16_compares_with_the_harness_alone(tmp_path: Path) -> None:
    options = ("--shape", "tiny", "--weights", "bfloat16", "--short", "1", "--long", "1")
    found = measured(tmp_path / "large.json", *options, "--responses", "4", "--repeats", "1")
    policy = found["models"]["tiny"]["long"]["policy"]
    assert {name: item["dtype"] for name, item in policy["engines"].items()} == {
        "seamaug bfloat16": "bfloat16",
        "hflm bfloat16": "bfloat16",
    }
    assert "reward" not in found["models"]["tiny"]["long"]
    assert any("seamaug bfloat16 over hflm" in line["what"] for line in found["targets"])


def test_duplicates_and_overlaps_are_found_where_they_were_planted(tmp_path: Path) -> None:
    out = tmp_path / "deduplicate.json"
    command = [sys.executable, str(BENCHMARKS / "deduplicate.py"), "--out", str(out)]
    sizes = ["--prompts", "2000", "--candidates", "600", "--check-every", "2"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    found = result["planted"]["found_by_similarity"]
    assert result["planted"]["planted"] > 50
    assert found["0 to 0.7"]["found"] == 0
    assert found["0.95 to 1"]["found"] >= found["0.9 to 0.95"]["found"] > 0
    assert result["planted"]["flagged_truly_at"]["0.80"] == 1
    overlaps = result["evaluate"]
    assert overlaps["planted_found"] == overlaps["planted"] > 0
    assert overlaps["wrong_by_exact_comparison"] == 0
    assert result["memory"]["candidates"] == 600
    assert result["memory"]["semantic_checks"] == 2  # of three parts of 256
    assert result["memory"]["rejected"] == {}
    assert all(result[name]["peak_rss_gib"] > 0 for name in ("planted", "evaluate", "memory"))


def test_requests_to_a_server_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    out = tmp_path / "generation.json"
    command = [sys.executable, str(BENCHMARKS / "generation.py"), "--out", str(out)]
    done = subprocess.run(
        [*command, "--requests", "300", "--runs", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())["seamaug"]
    for run in (*found["without_faults"], found["with_faults"]):
        assert (run["lost"], run["wrong"], run["doubled"]) == (0, 0, 0)
        assert run["most_at_once"] <= 64
    assert found["without_faults"][0]["attempts"] == 150
    assert found["with_faults"]["attempts"] > 300


def test_spending_compares_the_allocations_at_the_same_fall(tmp_path: Path) -> None:
    out = tmp_path / "spending.json"
    command = [sys.executable, str(BENCHMARKS / "spending.py"), "--out", str(out)]
    sizes = ["--seeds", "1", "--prompts", "16", "--budget", "8"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    (run,) = result["runs"]
    for name in ("thompson", "lookahead"):
        last = run["ratios"][name][-1]
        assert result["ratios"][name]["100%"] == {"mean": last, "interval": None}
        assert run["final"][name][1] > 0
    for name, points in run["curves"].items():
        assert points == sorted(points)
        assert points[-1] == run["final"][name]


def test_tokens_are_compared_where_both_have_removed_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from spending import ratios

    even = np.array([[10, 20, 30, 40], [1.0, 2.0, 3.0, 4.0]])
    fast = np.array([[5, 10, 15, 90], [1.0, 2.0, 3.0, 3.2]])
    assert ratios(fast, even) == pytest.approx([10 / 20, 15 / 30, 15 / 30, 90 / 40])
    assert ratios(even, even) == [1, 1, 1, 1]


def test_what_trained_reward_models_say_is_paired_with_uniform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from spending_retrained import SHARES, needed, summary

    seams = {"uniform": 0.5, "thompson": 0.6, "lookahead": 0.4}
    figures = {
        name: {f"{share:.0%}": {"seam": seam - share} for share in SHARES}
        for name, seam in seams.items()
    }
    found = summary([{"figures": figures}])
    assert found["lookahead"]["20%"]["above uniform"] == pytest.approx(-0.1)
    assert found["thompson"]["100%"]["seam"] == pytest.approx(-0.4)
    assert found["uniform"]["40%"]["tokens"] == pytest.approx(0.4)
    falling = [0.9, 0.5, 0.4, 0.3]
    assert needed(falling, 0.7) == pytest.approx((SHARES[0] + SHARES[1]) / 2)
    assert needed(falling, 0.95) == SHARES[0], "it is there from the start"
    assert needed(falling, 0.2) is None
