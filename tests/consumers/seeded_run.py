"""A small real run to export: embedded models, and prompts with system turns and several turns."""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seamaug.resources import resource

if TYPE_CHECKING:
    from seamaug import ExpandResult

_SYSTEM = "Be exact — réponds en anglais, 日本語 ok 🙂.\nUse at most three lines."
_EARLIER = [
    {"role": "user", "content": "Hi! Can you help me with `x < 3 && y > {{ 2 }}`?"},
    {"role": "assistant", "content": "Yes.\n\n- what is x?\n- what is y?"},
]


def conversations(count: int) -> list[dict[str, Any]]:
    """Bundled seeds; of each three, one gets a system turn, one earlier turns, one both."""
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if 60 < len(row["prompt"]) + len(row["chosen"]) < 300]
    found = []
    for number, row in enumerate(short[:: len(short) // count][:count]):
        turns = [{"role": "system", "content": _SYSTEM}] if number % 3 != 1 else []
        turns += _EARLIER if number % 3 else []
        turns.append({"role": "user", "content": row["prompt"]})
        found.append(
            {
                "chosen": [*turns, {"role": "assistant", "content": row["chosen"]}],
                "rejected": [*turns, {"role": "assistant", "content": row["rejected"]}],
                "source": row["source"],
                "licence": row["licence"],
            }
        )
    return found


def make_run(folder: Path) -> "ExpandResult":
    """The run, in which a judge votes on every pair, so that margins are known."""
    from seamaug import expand

    settings = {
        "select.share": 0.9,
        "keep.rule": "discrepant",
        "generate.policy_samples": 4,
        "generate.policy_max_new_tokens": 16,
        "score.samples": 3,
    }
    judge = _judge(folder.parent / "judge")
    return expand(conversations(30), judges=judge, budget=40, out=folder, settings=settings)


def _judge(folder: Path) -> str:
    """A reward model of random weights: a vote, though not a good one.

    By the bundled one, which is under test, nothing misjudged would be left.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    embedded = resource("embedded", "reward")
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(embedded)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded).save_pretrained(folder)
    return str(folder)
