"""SeamCallback in real TRL trainers, on tiny models."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from seamaug import ExpandResult, SeamCallback
from seamaug.errors import ConfigError, InputError, ModelError, RunFolderError
from seamaug.resources import resource

SETTINGS = {
    "select.share": 0.5,
    "generate.policy_samples": 0,
    "score.samples": 4,
    "keep.variance_prompts": 2,
    "keep.variance_samples": 2,
}
LOGGED = {"seam/mean", "seam/hack_rate", "seam/kept", "seam/before", "seam/after"}


def _rows() -> list[dict[str, str]]:
    return [
        {
            "prompt": f"What is {n} plus {n + 1}?",
            "chosen": f"It is {2 * n + 1}.",
            "rejected": f"It is {n}.",
        }
        for n in range(12)
    ]


def _trainer(kind: str, model: Any, out: Path, **changes: Any) -> Any:
    from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    config, trainer = {
        "sft": (SFTConfig, SFTTrainer),
        "reward": (RewardConfig, RewardTrainer),
    }[kind]
    pairs = [
        {
            side: [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row[side]},
            ]
            for side in ("chosen", "rejected")
        }
        for row in _rows()
    ]
    rows = pairs if kind == "reward" else [{"messages": pair["chosen"]} for pair in pairs]
    own = {"max_steps": 4, "per_device_train_batch_size": 4, "logging_steps": 1, **changes}
    arguments = config(str(out), use_cpu=True, bf16=False, report_to=[], seed=3, **own)
    return trainer(model, arguments, train_dataset=Dataset.from_list(rows))


def _embedded(role: str) -> str:
    return str(resource("embedded", role))


def _logged(trainer: Any) -> list[dict[str, Any]]:
    return [log for log in trainer.state.log_history if "seam/mean" in log]


def test_a_policy_in_training_hands_back_rows_and_trains_on_unchanged(tmp_path: Path) -> None:
    """Random draws of a cycle must not move the training."""
    plain = _trainer("sft", _embedded("policy"), tmp_path / "plain")
    plain.train()

    trainer = _trainer("sft", _embedded("policy"), tmp_path / "watched")
    taken: list[ExpandResult] = []
    seam = SeamCallback(
        trainer, _rows(), every=2, on_rows=taken.append, budget=4, settings=SETTINGS
    )
    trainer.add_callback(seam)
    trainer.train()

    assert seam.role == "policy"
    assert taken == seam.results
    folders = [tmp_path / "watched" / "seam" / f"step-{n}" for n in (2, 4)]
    assert [result.path for result in taken] == folders
    assert sorted(folders[0].parent.iterdir()) == folders, "the weights are gone"
    marks = [result.summary["models"]["policy"]["fingerprint"] for result in taken]
    assert len({*marks}) == 2, "each cycle sees the policy as it then is"
    for result, log in zip(taken, _logged(trainer), strict=True):
        assert log.keys() >= LOGGED
        assert log["seam/kept"] == len(result.preference) == len(result.sft) > 0
        assert log["seam/mean"] == result.summary["discrepancy"]["mean"] > 0

    def losses(made: Any) -> list[float]:
        return [log["loss"] for log in made.state.log_history if "loss" in log]

    assert losses(trainer) == losses(plain)


def test_a_reward_model_in_training_is_the_reward_model(tmp_path: Path) -> None:
    trainer = _trainer("reward", _embedded("reward"), tmp_path, num_train_epochs=2, max_steps=-1)
    seam = SeamCallback(
        trainer, iter(_rows()), every="epoch", out=tmp_path / "cycles",
        policy=_embedded("policy"), budget=4, settings=SETTINGS,
    )  # fmt: skip
    trainer.add_callback(seam)
    trainer.train()
    assert seam.role == "reward"
    assert [result.path.name for result in seam.results] == ["step-3", "step-6"]
    assert [log["step"] for log in _logged(trainer)] == [3, 6]
    marks = [result.summary["models"]["reward"]["fingerprint"] for result in seam.results]
    assert len({*marks}) == 2


def test_an_adapter_in_training_is_scored_with_its_base(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    base = AutoModelForCausalLM.from_pretrained(_embedded("policy"))
    model = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    )
    rows = Dataset.from_list([{"messages": [
        {"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}
    ]} for row in _rows()])  # fmt: skip
    arguments = SFTConfig(str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to=[])
    tokenizer = AutoTokenizer.from_pretrained(_embedded("policy"))
    trainer = SFTTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
    seam = SeamCallback(trainer, _rows(), budget=2, settings=SETTINGS)
    trainer.add_callback(seam)
    trainer.train()
    assert len(seam.results) == 1

    model.peft_config["default"].base_model_name_or_path = None
    with pytest.raises(ModelError, match="names no base model"):
        SeamCallback(trainer, _rows())


def test_what_cannot_work_is_said_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer("sft", _embedded("policy"), tmp_path)

    def refused(error: type[Exception], match: str, **arguments: Any) -> None:
        rows = arguments.pop("rows", _rows())
        with pytest.raises(error, match=match):
            SeamCallback(trainer, rows, **arguments)

    refused(ConfigError, "trainer's model is the policy; give `reward` alone", policy="my-sft")
    refused(ConfigError, "number of steps from 1", every=0)
    refused(ConfigError, "did you mean `select.share`", settings={"select.shar": 0.1})
    refused(InputError, "seed", rows=_rows()[:1])
    template, trainer.processing_class.chat_template = trainer.processing_class.chat_template, None
    refused(ModelError, "policy.chat_template")
    SeamCallback(trainer, _rows(), settings={"policy.chat_template": "question_answer"})
    trainer.processing_class.chat_template = template
    monkeypatch.setattr(trainer, "is_fsdp_enabled", True)
    refused(ModelError, "ZeRO-3 or FSDP shards the weights.*trainer.save_model")


def test_cycles_of_another_training_are_not_mixed_in(tmp_path: Path) -> None:
    trainer = _trainer("sft", _embedded("policy"), tmp_path)
    trainer.add_callback(SeamCallback(trainer, _rows(), every=2))
    (tmp_path / "seam" / "step-2").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"step-2 is from another training.*move it away"):
        trainer.train()
