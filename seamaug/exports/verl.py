"""verl (0.9): MultiTurnSFTDataset and RLHFDataset. No trainer of it takes preference pairs."""

from itertools import count

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.exports.form import Form, Row, conversations
from seamaug.records import MESSAGES

DATA_SOURCE = "seamaug"
_PROMPTS = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", MESSAGES),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct([("index", pa.int64()), ("id", pa.string())])),
    ]
)


def forms() -> tuple[Form, ...]:
    """SFT, and prompts for RL with the chosen response as `ground_truth`."""
    index = count()

    def prompt(example: Example) -> list[Row]:
        return [
            {
                "data_source": DATA_SOURCE,
                "prompt": example.prompt,
                "ability": "alignment",
                "reward_model": {"style": "model", "ground_truth": example.chosen},
                "extra_info": {"index": next(index), "id": example.id},
            }
        ]

    return conversations("sft.sh"), Form("prompts", _PROMPTS, prompt, ("grpo.sh",))
