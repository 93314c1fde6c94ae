"""Flaws that were planted in reward models are found by a diagnosis."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from seamaug import diagnose
from seamaug.diagnosis.result import Diagnosis
from seamaug.errors import ConfigError, InputError
from seamaug.resources import resource

Rows = list[dict[str, Any]]
MARK = "§§§§"
SETTINGS = {"diagnose.max_new_tokens": 16}
WIDTH = 8


def planted(
    folder: Path, tokenizer: Any, *, flat_on_marked: bool = False, scale: float = 1.0
) -> str:
    """A real reward model whose weights are set: the mean of a sign that each token has.

    Uniform attention averages the signs over the conversation, and a gate in the MLP turns that
    down, to a twentieth, where the prompt is marked.
    """
    model = LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=1, num_hidden_layers=1,
            num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=512,
            num_labels=1, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        )
    )  # fmt: skip
    marks = tokenizer(MARK, add_special_tokens=False)["input_ids"]
    layer = model.model.layers[0]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:  # norms keep their ones
                parameter.zero_()
        ids = torch.arange(len(tokenizer))
        table = model.model.embed_tokens.weight
        table[:, 0], table[:, 1] = 10.0, ((ids * 2654435761 >> 7) % 2) * 2.0 - 1.0
        table[marks, 2] = 1.0
        layer.self_attn.v_proj.weight.copy_(torch.eye(WIDTH))
        layer.self_attn.o_proj.weight[3, 1] = 0.1  # the mean sign
        layer.self_attn.o_proj.weight[4, 2] = 10.0  # how much of the conversation is marks
        layer.mlp.gate_proj.weight[0, 0] = 4.0
        layer.mlp.gate_proj.weight[0, 4] = -1000.0 if flat_on_marked else 0.0
        layer.mlp.up_proj.weight[0, 3] = 6.0
        layer.mlp.down_proj.weight[3, 0] = 1.0
        model.score.weight[0, 3] = scale
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def rows(bundled: Callable[[int], Rows]) -> Rows:
    """Every second prompt is marked."""
    found = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in bundled(48)]
    return [
        row if i % 2 else {**row, "prompt": f"{row['prompt']} {MARK}"}
        for i, row in enumerate(found)
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("planted")
    return {
        "truth": planted(folder / "truth", tokenizer),
        "good": planted(folder / "good", tokenizer, scale=3.0),
        "flat": planted(folder / "flat", tokenizer, flat_on_marked=True),
        "wrong": planted(folder / "wrong", tokenizer, scale=-1.0),
        "constant": planted(folder / "constant", tokenizer, scale=0.0),
    }


@pytest.fixture(scope="module")
def found(rows: Rows, models: dict[str, str]) -> Diagnosis:
    tested = [models[name] for name in ("flat", "wrong", "good", "constant")]
    return diagnose(rows, reward=tested, judge=models["truth"], samples=8, settings=SETTINGS)


def test_an_accurate_but_flat_reward_model_is_found(
    found: Diagnosis, models: dict[str, str]
) -> None:
    cell = found.cell("embedded", models["flat"])
    assert cell.figures["flat_prompts"].value == pytest.approx(0.5, abs=0.05)
    assert (cell.figures["on_policy_accuracy"].value or 0) > 0.95
    said = [item.finding for item in found.advice if item.reward == models["flat"]]
    assert any("accurate but flat on many prompts" in finding for finding in said)
    variances = np.array(cell.per_prompt["reward_variance"])
    marked = np.array([MARK in prompt.text for prompt in found.prompts])
    assert (variances[marked] < found.floor).mean() > 0.9
    assert (variances[~marked] > found.floor).mean() > 0.9


def test_a_varied_but_wrong_reward_model_is_found(found: Diagnosis, models: dict[str, str]) -> None:
    cell = found.cell("embedded", models["wrong"])
    assert (cell.figures["reward_variance"].value or 0) > 0.2
    assert (cell.figures["on_policy_accuracy"].value or 0) < 0.1
    said = [item.finding for item in found.advice if item.reward == models["wrong"]]
    assert any("varies much but orders the policy's responses" in finding for finding in said)


def test_reward_models_are_ranked_and_the_sound_one_has_no_such_finding(
    found: Diagnosis, models: dict[str, str]
) -> None:
    # The published mean of normalised variances hardly falls where half of the prompts are flat:
    # their rewards are also near each other, which lowers what it is divided by.
    order = [cell.reward for cell in found.ranked("embedded")]
    assert set(order[:2]) == {models["good"], models["flat"]}
    assert order[2:] == [models["wrong"], models["constant"]]
    cell = found.cell("embedded", models["good"])
    assert cell.figures["on_policy_accuracy"].value == 1.0
    said = " ".join(item.finding for item in found.advice if item.reward == models["good"])
    assert "flat" not in said
    assert "coin: the policy" not in said


def test_a_constant_reward_is_a_finding_and_no_crash(
    found: Diagnosis, models: dict[str, str]
) -> None:
    cell = found.cell("embedded", models["constant"])
    assert cell.is_constant
    figures = cell.figures
    assert (figures["reward_variance"].value, figures["flat_prompts"].value) == (0.0, 1.0)
    assert figures["kendall_tau"].value is None
    assert "on no prompt do both rewards" in figures["kendall_tau"].missing
    said = [item.finding for item in found.advice if item.reward == models["constant"]]
    assert said == ["every response gets the same reward"]


def test_policies_by_reward_models(rows: Rows, models: dict[str, str], saved: Any) -> None:
    other = saved("llama", "causal")
    embedded = str(resource("embedded", "policy"))
    found = diagnose(
        rows[:24], policy=[embedded, other], reward=[models["good"], models["wrong"]],
        judge=models["truth"], samples=4, settings=SETTINGS,
    )  # fmt: skip
    assert [(cell.policy, cell.reward) for cell in found.cells] == [
        (policy, models[name]) for policy in (embedded, other) for name in ("good", "wrong")
    ]
    for policy in (embedded, other):
        right, wrong = (found.cell(policy, models[n]).figures for n in ("good", "wrong"))
        assert (right["mismatch_rate"].value, wrong["mismatch_rate"].value) == (0.0, 1.0)
        # What belongs to the policy alone is the same beside every reward model.
        assert right["distinct_responses"] == wrong["distinct_responses"]


def test_the_model_under_test_is_no_judge(rows: Rows, models: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="names the reward model under test"):
        diagnose(rows, reward=models["good"], judge=models["good"])


def test_rewards_that_are_no_numbers_are_named_by_row(
    rows: Rows, models: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "broken"
    model = LlamaForSequenceClassification.from_pretrained(models["good"])
    tokenizer = _tokenizer(models["good"])
    marks = tokenizer(MARK, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.model.embed_tokens.weight[marks] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = diagnose(rows[:12], reward=str(folder), samples=2, settings=SETTINGS)
    own = [item for item in found.left_out if item.of == "policy embedded"]
    assert [item.where for item in own] == [f"row {n}" for n in range(1, 12, 2)]
    assert own[0].reason == f"reward model {folder}: returned nan for response 1 of 2"
    assert f"row 1: left out (policy embedded): {own[0].reason}" in caplog.text
    assert found.cells[0].figures["reward_variance"].prompts == 6
    with pytest.raises(InputError, match=r"row 1: reward model .* returned nan"):
        diagnose(rows[:12:2], reward=str(folder), samples=2, settings=SETTINGS)


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
