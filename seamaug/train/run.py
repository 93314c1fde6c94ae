"""A reward model from pairs: tokens, the policy's samples, training, and what is written."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, set_seed
from trl.trainer.reward_config import RewardConfig as TrainerConfig

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, LoraConfig, TrainConfig
from seamaug.errors import ConfigError, ModelError
from seamaug.identity import versions
from seamaug.models.loading import LOADING_ERRORS, fingerprint, locate, quiet_loading
from seamaug.models.tokens import ConversationTokens
from seamaug.resources import EMBEDDED, resource
from seamaug.run.folder import RunFolder, whole_file
from seamaug.train.data import columns, evaluation, fingerprint_of, pad, policy_samples, tokenised
from seamaug.train.policy_samples import PolicySamples
from seamaug.train.trainer import PairCollator, RobustRewardTrainer, score_layer

SUMMARY = "train.json"
_DEFAULTS: dict[str, Any] = {
    "save_steps": 0.1,
    "save_total_limit": 1,
    "logging_steps": 0.02,
    "report_to": "none",
}


def train(
    config: TrainConfig,
    out: Path,
    rows: Sequence[dict[str, Any]] | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train the reward model into `out`; returns what train.json then holds.

    The same call resumes at the last checkpoint; a finished training is left as it is.
    """
    clock.reset()
    start = _start(config)
    with RunFolder(out, _identity(config, start, rows)) as run:
        if (done := out / SUMMARY).is_file():
            found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
            return found
        tokens = ConversationTokens(start, "start")
        with clock.stage("read pairs"):
            table, counts = tokenised(run, "pairs", config, tokens, rows)
            judged = evaluation(run, config, tokens)
        samples = policy_samples(run, config, tokens, rows, quiet) if config.meta.step else None
        with clock.stage("train"):
            trainer = _trainer(config, start, tokens, run, table, samples, quiet)
            losses = trainer.train(resume_from_checkpoint=_last_checkpoint(run.stages / "train"))
        summary: dict[str, Any] = {
            "counts": counts,
            "steps": trainer.state.global_step,
            "loss": losses.training_loss,
            "evaluation": _accuracy(trainer, judged),
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        }
        _save(trainer, out)
        summary["times"] = clock.report()
        with whole_file(done) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(run.stages / "train")
    return summary


def _start(config: TrainConfig) -> LanguageModelConfig:
    own = config.start
    name = str(resource("embedded", "policy")) if own.name == EMBEDDED else own.name
    return LanguageModelConfig(**{**own.model_dump(), "name": name})


def _identity(
    config: TrainConfig, start: LanguageModelConfig, rows: Sequence[dict[str, Any]] | None
) -> dict[str, Any]:
    policy = fingerprint(config.policy, "policy") if config.meta.step else ""
    paths = {"pairs": True, "evaluation": True}  # what they hold is in
    return {
        "command": "train-rm",
        "config": config.model_dump(mode="json", exclude=paths),
        "pairs": fingerprint_of(config, rows),
        "models": {"start": fingerprint(start, "start"), "policy": policy},
        "versions": versions(),
    }


def _trainer(
    config: TrainConfig,
    start: LanguageModelConfig,
    tokens: ConversationTokens,
    run: RunFolder,
    table: pa.Table,
    samples: PolicySamples | None,
    quiet: bool,
) -> RobustRewardTrainer:
    given = {**_DEFAULTS, **_of_this_machine(), **config.trainer}
    try:
        arguments = TrainerConfig(
            str(run.stages / "train"),
            max_length=None,
            seed=config.seed,
            disable_dropout=True,
            disable_tqdm=quiet,
            **given,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`trainer`: {error}; see TRL's RewardConfig") from None
    model = _load(start, config.seed)
    return RobustRewardTrainer(
        model,
        arguments,
        data_collator=PairCollator(pad_token_id=pad(tokens)),
        train_dataset=Dataset(columns(table)),
        processing_class=tokens.tokenizer,
        peft_config=_lora(config.lora, model),
        contrastive=config.contrastive,
        meta=config.meta,
        policy_samples=samples,
    )


def _of_this_machine() -> dict[str, Any]:
    """Where there is no GPU, TRL's defaults of bfloat16 and recomputed activations only cost."""
    gpu = torch.cuda.is_available()
    return {"use_cpu": not gpu, "bf16": gpu, "gradient_checkpointing": gpu}


def _load(start: LanguageModelConfig, seed: int) -> Any:
    """The starting model with one output; a new layer for it is drawn by the seed."""
    set_seed(seed)
    try:
        with quiet_loading():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                locate(start, "start"),
                revision=start.revision,
                num_labels=1,
                dtype=getattr(torch, start.dtype),
                use_safetensors=True,
                trust_remote_code=start.trust_remote_code,
                output_loading_info=True,
            )
    except (*LOADING_ERRORS, SafetensorError) as error:
        raise ModelError(f"start model {start.name!r} cannot be loaded: {error}") from None
    head = _name_of(score_layer(model), model)
    if lost := [name for name in info["missing_keys"] if not name.startswith(f"{head}.")]:
        raise ModelError(
            f"start model {start.name!r} lacks trained weights for {', '.join(sorted(lost)[:5])}; "
            "is it a language model at all?"
        )
    return model


def _name_of(layer: Any, model: Any) -> str:
    names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
    return names[id(layer)]


def _lora(config: LoraConfig, model: Any) -> Any:
    if not config.rank:
        return None
    import peft

    targets = config.targets
    return peft.LoraConfig(
        task_type="SEQ_CLS",
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=[_name_of(score_layer(model), model)],
    )


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: its trainer_state.json is written last. Others go."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / "trainer_state.json").is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return str(max(whole, key=lambda path: int(path.name.partition("-")[2]))) if whole else None


def _accuracy(trainer: RobustRewardTrainer, judged: dict[str, pa.Table]) -> dict[str, Any]:
    """Share of pairs whose chosen response gets the higher reward, by file."""
    found = {}
    for path, table in judged.items():
        metrics = trainer.evaluate(Dataset(table))
        found[path] = {"pairs": table.num_rows, "accuracy": metrics["eval_accuracy"]}
    return found


def _save(trainer: RobustRewardTrainer, out: Path) -> None:
    """The model, without what only training needs, and its tokenizer."""
    if "prototypes" in trainer.head._parameters:
        del trainer.head.prototypes
    trainer.model.save_pretrained(out)
    trainer.processing_class.save_pretrained(out)
