"""What every training here begins with: a model with one output, TRL's arguments, a checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, set_seed
from trl.trainer.reward_config import RewardConfig as TrainerConfig

from seamaug.config import LanguageModelConfig, StartConfig
from seamaug.errors import ConfigError, ModelError
from seamaug.models.loading import LOADING_ERRORS, locate, only_safetensors, quiet_loading
from seamaug.resources import EMBEDDED, resource
from seamaug.train.trainer import score_layer

ROLE = "start"
_DEFAULTS: dict[str, Any] = {
    "save_steps": 0.1,
    "save_total_limit": 1,
    "logging_steps": 0.02,
    "report_to": "none",
}


def start_model(own: StartConfig) -> LanguageModelConfig:
    """The start as what the loading code knows; `embedded` is the bundled policy."""
    name = str(resource("embedded", "policy")) if own.name == EMBEDDED else own.name
    return LanguageModelConfig(**{**own.model_dump(), "name": name})


def trainer_arguments(
    folder: Path, given: dict[str, Any], key: str, *, seed: int, quiet: bool
) -> TrainerConfig:
    """TRL's arguments: ours, then `given` by the user's setting `key`.

    Where there is no GPU, TRL's defaults of bfloat16 and recomputed activations would only cost.
    Raises ConfigError where TRL refuses one.
    """
    gpu = torch.cuda.is_available()
    machine = {"use_cpu": not gpu, "bf16": gpu, "gradient_checkpointing": gpu}
    try:
        return TrainerConfig(
            str(folder),
            max_length=None,
            seed=seed,
            disable_dropout=True,
            disable_tqdm=quiet,
            **{**_DEFAULTS, **machine, **given},
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`{key}`: {error}; see TRL's RewardConfig") from None


def load_start(start: LanguageModelConfig, seed: int) -> Any:
    """The starting model with one output; a new layer for it is drawn by the seed."""
    set_seed(seed)
    try:
        with quiet_loading():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                locate(start, ROLE),
                revision=start.revision,
                num_labels=1,
                dtype=getattr(torch, start.dtype),
                use_safetensors=only_safetensors(start),
                trust_remote_code=start.trust_remote_code,
                output_loading_info=True,
            )
    except (*LOADING_ERRORS, SafetensorError) as error:
        raise ModelError(f"start model {start.name!r} cannot be loaded: {error}") from None
    head = name_of(score_layer(model), model)
    if lost := [name for name in info["missing_keys"] if not name.startswith(f"{head}.")]:
        raise ModelError(
            f"start model {start.name!r} lacks trained weights for {', '.join(sorted(lost)[:5])}; "
            "is it a language model at all?"
        )
    return model


def name_of(layer: Any, model: Any) -> str:
    names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
    return names[id(layer)]


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: its trainer_state.json is written last. Others go."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / "trainer_state.json").is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return str(max(whole, key=lambda path: int(path.name.partition("-")[2]))) if whole else None
