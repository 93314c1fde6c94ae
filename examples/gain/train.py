"""The trainings, all TRL's: SFT, reward modelling, reinforcement learning by RLOO.

Each takes TRL's own settings. `lora` among them is peft's settings of an adapter, which is merged
into the weights in the end; `chat_template` is for base models that have none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from world import Row


def sft(start: Any, rows: Sequence[Row], out: Path, seed: int, **settings: Any) -> Path:
    """Train on `prompt` and `completion`; loss on the completion alone.

    `start`: a model's place, or a model whose tokenizer is in `out`.
    """
    known = isinstance(start, (str, Path))
    own = _Settings(out, seed, settings)
    trainer = SFTTrainer(
        str(start) if known else start,
        SFTConfig(**own.trl),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=own.tokenizer(start if known else out),
        peft_config=own.peft("CAUSAL_LM"),
    )
    return own.train(trainer)


def reward(start: Path | str, rows: Sequence[Row], out: Path, seed: int, **settings: Any) -> Path:
    """Train a sequence classifier on `prompt`, `chosen`, `rejected`."""
    own = _Settings(out, seed, settings)
    torch.manual_seed(seed)  # the new head's
    tokenizer = own.tokenizer(start)
    trainer = RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(
            start, num_labels=1, pad_token_id=tokenizer.pad_token_id
        ),
        RewardConfig(**own.trl),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        peft_config=own.peft("SEQ_CLS"),
    )
    return own.train(trainer)


def rloo(
    policy: Path, judge: Path, prompts: Sequence[Row], out: Path, seed: int, **settings: Any
) -> Path:
    """Train a policy on a reward model's scores of its own samples."""
    own = _Settings(out, seed, settings)
    trainer = RLOOTrainer(
        str(policy),
        reward_funcs=str(judge),
        args=RLOOConfig(**own.trl),
        train_dataset=Dataset.from_list(list(prompts)),
        processing_class=own.tokenizer(policy, padding_side="left"),
        peft_config=own.peft("CAUSAL_LM"),
    )
    return own.train(trainer)


class _Settings:
    """What all trainings share: quiet, nothing saved on the way, the same order of batches."""

    def __init__(self, out: Path, seed: int, settings: dict[str, Any]) -> None:
        given = dict(settings)
        self._out = out
        self._lora = given.pop("lora", None)
        self._template = given.pop("chat_template", None)
        gpu = torch.cuda.is_available()
        self.trl = {
            "output_dir": str(out),
            "seed": seed,
            "data_seed": seed,
            "report_to": "none",
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": not gpu,
            "bf16": gpu,
            "gradient_checkpointing": bool(self._lora),  # those are large models
        } | given

    def tokenizer(self, place: Path | str, **how: Any) -> Any:
        """A model's tokenizer, with what it may lack."""
        found = AutoTokenizer.from_pretrained(place, **how)
        found.chat_template = found.chat_template or self._template
        found.pad_token = found.pad_token or found.eos_token
        return found

    def peft(self, task: str) -> Any:
        """Settings of the adapter, if one is asked for."""
        if self._lora is None:
            return None
        from peft import LoraConfig

        return LoraConfig(task_type=task, **self._lora)

    def train(self, trainer: Any) -> Path:
        """Train, and save weights that load by themselves."""
        trainer.train()
        if self._lora is not None:
            trainer.model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        trainer.save_model(str(self._out))
        return self._out
