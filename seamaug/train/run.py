"""A reward model from pairs: tokens, the policy's samples, training, and what is written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from transformers import PrinterCallback

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, LoraConfig, TrainConfig
from seamaug.identity import versions
from seamaug.log import logger
from seamaug.models.loading import fingerprint
from seamaug.models.tokens import ConversationTokens
from seamaug.run.folder import RunFolder, whole_file
from seamaug.run.mirror import opened_run
from seamaug.seeds.pairs import read_pairs
from seamaug.storage import Place
from seamaug.train.data import columns, evaluation, fingerprint_of, pad, policy_samples, tokenised
from seamaug.train.policy_samples import PolicySamples
from seamaug.train.setup import (
    ROLE,
    last_checkpoint,
    load_start,
    name_of,
    start_model,
    trainer_arguments,
)
from seamaug.train.trainer import PairCollator, RobustRewardTrainer, score_layer

SUMMARY = "train.json"


def train(
    config: TrainConfig,
    out: Place,
    rows: Sequence[dict[str, Any]] | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train the reward model into `out`; returns what train.json then holds.

    The same call resumes at the last checkpoint; a finished training is left as it is.
    """
    clock.reset()
    start = start_model(config.start)
    if "name" in config.policy.model_fields_set and not config.meta.step:
        logger.warning(
            f"policy {config.policy.name} is not asked: only MetaRM samples it; set `meta.step` "
            "(--meta-step 0.01), or leave the policy out"
        )
    with opened_run(out, _identity(config, start, rows)) as run, run:
        if (done := run.path / SUMMARY).is_file():
            found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
            return found
        tokens = ConversationTokens(start, ROLE)
        with clock.stage("read pairs"):
            pairs = read_pairs(config.pairs, rows)
            table, counts = tokenised(run, "pairs", pairs, tokens, config.smoothing.rate)
            judged = evaluation(run, config, tokens)
        samples = policy_samples(run, config, tokens, rows, quiet) if config.meta.step else None
        with clock.stage("train"):
            trainer = _trainer(config, start, tokens, run, table, samples, quiet)
            losses = trainer.train(resume_from_checkpoint=last_checkpoint(run.stages / "train"))
        summary: dict[str, Any] = {
            "counts": counts,
            "steps": trainer.state.global_step,
            "loss": losses.training_loss,
            "evaluation": _accuracy(trainer, judged),
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        }
        _save(trainer, run.path)
        summary["times"] = clock.report()
        with whole_file(done) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        run.drop("train")
    return summary


def _identity(
    config: TrainConfig, start: LanguageModelConfig, rows: Sequence[dict[str, Any]] | None
) -> dict[str, Any]:
    policy = fingerprint(config.policy, "policy") if config.meta.step else ""
    paths = {"pairs": True, "evaluation": True}  # what they hold is in
    return {
        "command": "train-rm",
        "config": config.model_dump(mode="json", exclude=paths),
        "pairs": fingerprint_of(config, rows),
        "models": {"start": fingerprint(start, ROLE), "policy": policy},
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
    folder = run.stages / "train"
    model = load_start(start, config.seed)
    trainer = RobustRewardTrainer(
        model,
        trainer_arguments(folder, config.trainer, "trainer", seed=config.seed, quiet=quiet),
        data_collator=PairCollator(pad_token_id=pad(tokens)),
        train_dataset=Dataset(columns(table)),
        processing_class=tokens.tokenizer,
        peft_config=_lora(config.lora, model),
        contrastive=config.contrastive,
        meta=config.meta,
        policy_samples=samples,
    )
    trainer.remove_callback(PrinterCallback)  # prints the losses where no bar is wanted
    return trainer


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
        modules_to_save=[name_of(score_layer(model), model)],
    )


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
