"""Inside a training loop: new examples from the model as it is now, for TRL's trainers."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from transformers import Trainer, TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled

from seamaug.api import ExpandResult, expand
from seamaug.arguments import ExpandArguments, paths_of, prepare
from seamaug.errors import ConfigError, ModelError, RunFolderError
from seamaug.run.track import PREFIX
from seamaug.seeds import SeedSource
from seamaug.storage import here


class SeamCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Expands with the model in training: online RLHF, segmented into offline cycles.

    Add it to a trainer that is made already: ``trainer.add_callback(SeamCallback(trainer, ...))``.
    A trainer fixes its rows when `train()` starts, so new rows are for the next cycle, or for the
    other model's trainer.

    trainer: of a causal language model (SFT, DPO, KTO, RLOO, GRPO), which is then the policy, or of
        a classifier with one label (RewardTrainer), which is then the reward model. It needs a
        tokenizer with a chat template.
    seeds, arguments: as for `seamaug.expand`; the other model is named there, and the one in
        training is not.
    every: steps, or "epoch"; None is once, when training has ended.
    out: folder for the cycles' run folders, `step-N`; default is `seam` in the trainer's
        `output_dir`. A training that starts before a cycle that is there refuses to.
    on_rows: called with the result of each cycle.

    The model is saved for the time of a cycle and loaded a second time, to where `policy.device` or
    `reward.device` says. The first process works and alone has results, while the others wait: set
    `ddp_timeout` to more than a cycle takes. Random states are as before afterwards. An error in a
    cycle ends the training.

    Logged with the trainer's own figures, for W&B, TensorBoard and `state.log_history`: `seam/mean`
    (standard deviations of the reward model's scores) and `seam/hack_rate` over the seeds,
    `seam/kept`, and `seam/before` and `seam/after`, mean SEAM of the kept examples' parents and of
    these.

    Source: online RLHF segmented into offline cycles, arXiv 2406.07971.
    Raises ConfigError, InputError or ModelError at once for what cannot work: settings, seeds,
    weights that ZeRO-3 or FSDP shards, an adapter whose base has no name.
    """

    def __init__(
        self,
        trainer: Trainer,
        seeds: SeedSource = None,
        *,
        every: int | Literal["epoch"] | None = None,
        out: str | Path | None = None,
        on_rows: Callable[[ExpandResult], object] | None = None,
        **arguments: Unpack[ExpandArguments],
    ) -> None:
        if not (every in (None, "epoch") or (isinstance(every, int) and every > 0)):
            raise ConfigError(f'every={every!r}: give a number of steps from 1, "epoch" or None')
        self.role: Literal["policy", "reward"] = (
            "policy" if trainer.model.can_generate() else "reward"
        )
        if arguments.get(self.role):
            other = "reward" if self.role == "policy" else "policy"
            raise ConfigError(f"the trainer's model is the {self.role}; give `{other}` alone")
        if not paths_of(seeds) and isinstance(seeds, Iterator):
            seeds = list(seeds)  # every cycle reads them
        config, _ = prepare(seeds, arguments)  # a mistake must not show after hours of training
        _refuse_unsaved(trainer, self.role, template=getattr(config, self.role).chat_template)
        self.results: list[ExpandResult] = []
        """One for each cycle so far."""
        self._trainer, self._seeds, self._every = trainer, seeds, every
        self._out = here(out) if out is not None else Path(trainer.args.output_dir) / "seam"
        self._on_rows, self._arguments = on_rows, arguments

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Raise RunFolderError where another training's cycles are in the way."""
        later = [step for step in _steps_in(self._out) if step > state.global_step]
        if later:
            raise RunFolderError(
                f"{self._out / f'step-{min(later)}'} is from another training, or from after the "
                "checkpoint that this one starts from; move it away, or choose another `out`"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A cycle after every so many steps."""
        if isinstance(self._every, int) and state.global_step % self._every == 0:
            self._cycle(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A cycle after every epoch."""
        if self._every == "epoch":
            self._cycle(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The one cycle of a training that has no others."""
        if self._every is None:
            self._cycle(state.global_step)

    def _cycle(self, step: int) -> None:
        if self._trainer.is_world_process_zero():
            weights = self._out / f"step-{step}-{self.role}"
            try:
                self._trainer.save_model(str(weights), _internal_call=True)  # no push to a hub
                (weights / "training_args.bin").unlink(missing_ok=True)  # not of the model
                result = self._expand(self._out / f"step-{step}", weights)
            finally:
                shutil.rmtree(weights, ignore_errors=True)
            self.results.append(result)
            self._log(scalars_of(result))
            if self._on_rows:
                self._on_rows(result)
        self._trainer.accelerator.wait_for_everyone()

    def _log(self, scalars: dict[str, float]) -> None:
        control = self._trainer.control
        due = control.should_log
        # Not the trainer's own `log`: those of TRL empty the means they are collecting.
        Trainer.log(self._trainer, scalars)
        control.should_log = due  # logging withdraws the step's own log

    def _expand(self, out: Path, weights: Path) -> ExpandResult:
        arguments: ExpandArguments = {**self._arguments}
        if self.role == "policy":
            arguments["policy"] = str(weights)
        else:
            arguments["reward"] = str(weights)
        with torch.random.fork_rng():
            return expand(self._seeds, out=out, **arguments)


def _steps_in(folder: Path) -> list[int]:
    """Steps of which there are run folders, or weights that a killed cycle left."""
    found = (re.fullmatch(r"step-(\d+)(-\w+)?", item.name) for item in folder.glob("*"))
    return [int(match[1]) for match in found if match]


def scalars_of(result: ExpandResult) -> dict[str, float]:
    """A run's figures by the names they are logged under; those that a run lacks are left out."""
    summary = result.summary
    found = {
        **summary["discrepancy"],
        "kept": summary["counts"]["candidates"]["kept"],
        "before": summary["kept"]["seam_before"],
        "after": summary["kept"]["seam_after"],
    }
    return {f"{PREFIX}{name}": value for name, value in found.items() if value is not None}


def _refuse_unsaved(trainer: Trainer, role: str, *, template: str | None) -> None:
    """Raise ModelError where the model cannot be saved so that it loads again."""
    if is_deepspeed_zero3_enabled() or trainer.is_fsdp_enabled:
        raise ModelError(
            "ZeRO-3 or FSDP shards the weights, so a callback cannot load them while it trains; "
            "after `train()`, call trainer.save_model(FOLDER), and seamaug.expand with that folder "
            "in a process of its own"
        )
    adapters = getattr(trainer.model, "peft_config", {}).values()
    if any(not adapter.base_model_name_or_path for adapter in adapters):
        raise ModelError(
            "the adapter in training names no base model to load it with; make the model with "
            "from_pretrained(FOLDER or hub id)"
        )
    if template is None and getattr(trainer.processing_class, "chat_template", None) is None:
        raise ModelError(
            f"the trainer's tokenizer has no chat template; set one, or give `settings="
            f'{{"{role}.chat_template": "question_answer"}}` for a base model'
        )
