"""LoRA and other PEFT adapters: read with the base model that they name, and merged into it."""

import json
from pathlib import Path
from typing import Any

from transformers.utils import find_adapter_config_file

from seamaug.errors import ModelError

_WEIGHTS = "adapter_model.safetensors"


def base_of(path: str, revision: str | None) -> str | None:
    """Folder or hub id of the model that an adapter changes; None for a whole model."""
    found = find_adapter_config_file(path, revision=revision)
    if found is None:
        return None
    try:
        base = json.loads(Path(found).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(f"adapter {path}: {found} names no base model ({error})") from None
    # A folder is meant relative to where the adapter was trained, which hardly ever is here.
    beside = Path(path) / str(base)
    return str(beside) if beside.is_dir() and not Path(base).is_dir() else str(base)


def labels_of(path: str) -> int:
    """Scores per response that a local adapter's own head gives; 1 where it brings none."""
    file = Path(path) / _WEIGHTS
    if not file.is_file():
        return 1
    from safetensors import safe_open

    with safe_open(file, "pt") as weights:
        shapes = [
            weights.get_slice(name).get_shape()
            for name in weights.keys()  # noqa: SIM118  (it is no dict)
            if name.endswith(("score.weight", "classifier.weight"))
        ]
    return int(shapes[0][0]) if shapes else 1


def merged(
    model: Any, path: str, revision: str | None, missing: list[str]
) -> tuple[Any, list[str]]:
    """The base model with the adapter in its weights, and what both together still lack.

    `missing`: weights that the base alone lacks, such as the head of a reward model.
    Raises ModelError where peft is not installed or the weights are a pickle.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError:
        raise ModelError(
            f"{path} is a PEFT adapter, and peft is not installed: pip install peft"
        ) from None
    if Path(path).is_dir() and not (Path(path) / _WEIGHTS).is_file():
        raise ModelError(
            f"adapter {path} has no {_WEIGHTS}; save it again with save_pretrained "
            "(pickled weights are not read)"
        )
    adapter = PeftConfig.from_pretrained(path, revision=revision)
    saved = tuple(f"{name}." for name in getattr(adapter, "modules_to_save", None) or ())
    left = [name for name in missing if not saved or not f"{name}.".startswith(saved)]
    if left:
        return model, left
    whole = PeftModel.from_pretrained(model, path, revision=revision, use_safetensors=True)
    return whole.merge_and_unload(safe_merge=True), []
