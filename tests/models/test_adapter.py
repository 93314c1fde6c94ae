"""LoRA adapters: saved by peft, loaded with the base they name, equal to peft's own model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.loading import fingerprint
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.records import user_message

PROMPT, ANSWER = user_message("What is love?"), "Baby don't hurt me."


def adapted(base: str, folder: Path, task: str, labels: int = 1) -> Any:
    """A LoRA model that differs clearly from its base, saved as an adapter alone."""
    causal = task == "CAUSAL_LM"
    torch.manual_seed(1)
    whole = (
        AutoModelForCausalLM.from_pretrained(base)
        if causal
        else AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    )
    model = get_peft_model(whole, LoraConfig(task_type=task, r=4, target_modules=["q_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module")
def base(saved: Callable[..., str]) -> str:
    return saved("llama", "causal")


def test_policy(base: str, tmp_path: Path) -> None:
    truth = adapted(base, tmp_path / "lora", "CAUSAL_LM")
    config = PolicyConfig(name=str(tmp_path / "lora"), device="cpu", dtype="float32")
    policy = Policy(config)
    prompt, (response,) = policy.prompt_ids(PROMPT), policy.response_ids([ANSWER])
    with torch.no_grad():
        logits = truth(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    wanted = logits.log_softmax(-1)[range(len(response)), response].sum().item()
    found = policy.logprobs([(prompt, [response])])[0][0].total
    assert found == pytest.approx(wanted, abs=1e-3)
    plain = Policy(config.model_copy(update={"name": base}))
    assert plain.logprobs([(prompt, [response])])[0][0].total != pytest.approx(wanted, abs=1)


def test_reward_model_whose_head_is_in_the_adapter(base: str, tmp_path: Path) -> None:
    truth = adapted(base, tmp_path / "lora", "SEQ_CLS")
    model = RewardModel(RewardConfig(name=str(tmp_path / "lora"), device="cpu", dtype="float32"))
    rows = model.conversation_ids(PROMPT, [ANSWER, "No."])
    with torch.no_grad():
        wanted = [truth(torch.tensor([row])).logits.item() for row in rows]
    assert model.rewards([rows])[0] == pytest.approx(wanted, abs=1e-4)


def test_two_labels_are_refused(base: str, tmp_path: Path) -> None:
    adapted(base, tmp_path / "lora", "SEQ_CLS", labels=2)
    with pytest.raises(ModelError, match="has 2 labels"):
        RewardModel(RewardConfig(name=str(tmp_path / "lora"), device="cpu"))


def test_an_adapter_without_a_head_is_no_reward_model(base: str, tmp_path: Path) -> None:
    adapted(base, tmp_path / "lora", "CAUSAL_LM")
    with pytest.raises(ModelError, match=r"lacks trained weights for score\.weight"):
        RewardModel(RewardConfig(name=str(tmp_path / "lora"), device="cpu"))


def test_fingerprint_covers_the_base(saved: Callable[..., str], tmp_path: Path) -> None:
    base = saved("llama", "causal")
    adapted(base, tmp_path / "lora", "CAUSAL_LM")
    config = PolicyConfig(name=str(tmp_path / "lora"))
    before = fingerprint(config, "policy")
    assert fingerprint(config, "policy") == before
    file = Path(base) / "config.json"
    file.write_text(file.read_text() + "\n")
    assert fingerprint(config, "policy") != before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "names no base model"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(folder / "x.bin"),
            "pickled weights are not read",
        ),
    ],
)
def test_damaged_adapter(
    base: str, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    adapted(base, tmp_path / "lora", "CAUSAL_LM")
    spoil(tmp_path / "lora")
    with pytest.raises(ModelError, match=message):
        Policy(PolicyConfig(name=str(tmp_path / "lora"), device="cpu"))


def test_base_that_is_gone(base: str, tmp_path: Path) -> None:
    adapted(base, tmp_path / "lora", "CAUSAL_LM")
    file = tmp_path / "lora" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "./gone"}))
    with pytest.raises(ModelError, match="gone"):
        Policy(PolicyConfig(name=str(tmp_path / "lora"), device="cpu"))


def test_peft_is_asked_for(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted(base, tmp_path / "lora", "CAUSAL_LM")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match="pip install peft"):
        Policy(PolicyConfig(name=str(tmp_path / "lora"), device="cpu"))
