"""axolotl's own path from a config file to what it trains on."""

import os
from collections.abc import Iterator
from typing import Any

os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
os.environ["AXOLOTL_DATASET_NUM_PROC"] = "0"  # in this process; each of its own takes ten seconds

from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets, load_preference_datasets
from axolotl.loaders import load_tokenizer
from loaded import Loaded, decoder, tell

FORMS = {
    "sft": ("sft", "conversation"),
    "dpo": ("preference", "pair"),
    "reward": ("reward", "pair"),
    "kto": ("kto", "judged, in ChatML"),
}


def load(policy: str, reward: str) -> Iterator[Loaded]:
    for name, (form, kind) in FORMS.items():
        model = reward if name == "reward" else policy
        cfg = load_cfg(f"{name}.yaml", base_model=model, bf16=False)
        text = decoder(load_tokenizer(cfg))
        read = load_preference_datasets if cfg.rl else load_datasets
        found = read(cfg=cfg)
        for side, data in (("train", found.train_dataset), ("validation", found.eval_dataset)):
            rows = [_texts(row, text) for row in data]
            yield Loaded(form, side, kind, f"{read.__name__}, {name}.yaml", rows)


def _texts(row: dict[str, Any], text: Any) -> list[str]:
    if "chosen_ids" in row:
        return [text(row["chosen_ids"]), text(row["rejected_ids"])]
    if "chosen" in row:
        return [row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]]
    if "completion" in row:
        return [row["prompt"] + row["completion"], str(row["label"])]
    return [text(row["input_ids"])]


if __name__ == "__main__":
    tell("axolotl", load)
