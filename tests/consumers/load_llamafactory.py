"""LLaMA-Factory's own path from a training config to token ids, and what it warned of."""

import logging
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import transformers.utils  # looks which packages there are, before one is made up
import yaml
from loaded import Loaded, decoder, tell

# mm_plugin.py imports torchaudio at its top, for sounds. Its wheel wants CUDA's libraries.
transformers.utils.import_utils.is_torchaudio_available()
sys.modules["torchaudio"] = ModuleType("torchaudio")

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from llamafactory.model import load_tokenizer  # noqa: E402

FORMS = {
    "sft": ("sft", "conversation", "sft"),
    "reward": ("preference", "pair", "rm"),
    "dpo": ("preference", "pair", "rm"),
    "kto": ("kto", "judged", "kto"),
}
"""Form, kind of row, and the stage that get_dataset is called with: DPO's is a reward model's."""
COMPLAINTS: list[str] = []


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        COMPLAINTS.append(record.getMessage())


def load(policy: str, reward: str) -> Iterator[Loaded]:
    for name, (form, kind, stage) in FORMS.items():
        with open(f"{name}.yaml", encoding="utf-8") as stream:
            given = yaml.safe_load(stream)
        with tempfile.TemporaryDirectory() as out:
            given |= {"model_name_or_path": reward if name == "reward" else policy}
            given |= {"output_dir": out, "bf16": False, "use_cpu": True, "overwrite_cache": True}
            model_args, data_args, training_args, *_ = get_train_args(given)
            module = load_tokenizer(model_args)
            template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
            listener = _Listener(logging.WARNING)
            logging.getLogger("llamafactory").addHandler(listener)
            found = get_dataset(
                template, model_args, data_args, training_args, stage=stage, **module
            )
            logging.getLogger("llamafactory").removeHandler(listener)
        text = decoder(module["tokenizer"])
        for side, data in (("train", "train_dataset"), ("validation", "eval_dataset")):
            rows = [_texts(row, text) for row in found[data]]
            yield Loaded(form, side, kind, f"get_dataset, {name}.yaml", rows)


def _texts(row: dict[str, Any], text: Any) -> list[str]:
    if "chosen_input_ids" in row:
        return [text(row["chosen_input_ids"]), text(row["rejected_input_ids"])]
    label = [str(row["kto_tags"])] if "kto_tags" in row else []
    return [text(row["input_ids"]), *label]


if __name__ == "__main__":
    tell("llamafactory", load, COMPLAINTS)
