"""OpenRLHF (0.11): openrlhf/datasets/*.py read the columns that the options `--data.*_key` name."""

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.exports.form import Form, conversations, pairs
from seamaug.records import MESSAGES


def forms() -> tuple[Form, ...]:
    """SFT, preference pairs for the reward model and for DPO, and prompts for RL."""
    return (
        conversations("sft.sh"),
        pairs("reward.sh", "dpo.sh", takes_margin=True),
        Form(
            "prompts",
            pa.schema([("prompt", MESSAGES), ("label", pa.string()), ("datasource", pa.string())]),
            lambda example: [
                {"prompt": example.prompt, "label": example.chosen, "datasource": example.source}
            ],
            ("rl.sh",),
            _image,
        ),
    )


def _image(example: Example) -> str:
    """PromptDataset takes the tag for a picture, and trims the text around it."""
    tagged = any("<image>" in turn["content"] for turn in example.prompt)
    return "has `<image>` in its prompt, which OpenRLHF takes for a picture" if tagged else ""
