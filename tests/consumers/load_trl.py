"""TRL: the export's scripts as they are, five steps each, and what they trained on."""

import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loaded import Loaded, decoder, tell

STEPS = 5
FORMS = {
    "sft": ("sft", "conversation"),
    "reward": ("preference", "pair with margin"),
    "dpo": ("dpo", "pair"),
    "kto": ("kto", "judged"),
    "grpo": ("prompts", "prompt"),
    "rloo": ("prompts", "prompt"),
}
_SMALL = (
    "--use_cpu --bf16 False --report_to none --save_strategy no --per_device_train_batch_size 4"
)
_SAMPLING = "--num_generations 4 --max_completion_length 8"


def load(policy: str, reward: str) -> Iterator[Loaded]:
    for name, (form, kind) in FORMS.items():
        options = f"{_SMALL} --max_steps {STEPS} --model {reward if name == 'reward' else policy}"
        if form == "prompts":
            options += f" --reward {reward} {_SAMPLING}"
        with tempfile.TemporaryDirectory() as out:
            trainer = _run(Path(f"{name}.py"), [*options.split(), "--output_dir", out])
        text = decoder(trainer.processing_class)
        for side, data in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
            rows = [_texts(row, text, trainer.processing_class) for row in data]
            steps = trainer.state.global_step if side == "train" else 0
            yield Loaded(form, side, kind, type(trainer).__name__, rows, steps)


def _run(script: Path, arguments: list[str]) -> Any:
    before = sys.argv
    sys.argv = [str(script), *arguments]
    try:
        return runpy.run_path(str(script), run_name="__main__")["trainer"]
    finally:
        sys.argv = before


def _texts(row: dict[str, Any], text: Any, tokenizer: Any) -> list[str]:
    if "chosen_ids" in row and "prompt_ids" not in row:
        margin = [str(row["margin"])] if "margin" in row else []
        return [text(row["chosen_ids"]), text(row["rejected_ids"]), *margin]
    if "chosen_ids" in row:
        prompt = text(row["prompt_ids"])
        return [prompt + text(row["chosen_ids"]), prompt + text(row["rejected_ids"])]
    if "label" in row:
        return [text(row["prompt_ids"]) + text(row["completion_ids"]), str(row["label"])]
    if "input_ids" in row:
        return [text(row["input_ids"])]
    return [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    ]


if __name__ == "__main__":
    tell("trl", load)
