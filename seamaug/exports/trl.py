"""TRL (1.16): its dataset formats are at docs/source/dataset_formats.md of its repository."""

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.exports.form import Form, Row, conversations, judged, pairs, unpaired
from seamaug.records import MESSAGES, Message


def forms() -> tuple[Form, ...]:
    """SFT, reward model (implicit prompt), DPO (explicit prompt), KTO, and prompts for RL."""
    return (
        conversations("sft.py"),
        pairs("reward.py", takes_margin=True),
        Form(
            "dpo",
            pa.schema([("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES)]),
            _dpo,
            ("dpo.py",),
            unpaired,
        ),
        Form(
            "kto",
            pa.schema([("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_())]),
            _kto,
            ("kto.py",),
            unpaired,
            shuffled=True,
        ),
        Form(
            "prompts",
            pa.schema([("prompt", MESSAGES)]),
            lambda example: [{"prompt": example.prompt}],
            ("grpo.py", "rloo.py"),
        ),
    )


def _dpo(example: Example) -> list[Row]:
    return [
        {
            "prompt": example.prompt,
            "chosen": _answer(example.chosen),
            "rejected": _answer(rejected),
        }
        for rejected in example.rejected
    ]


def _kto(example: Example) -> list[Row]:
    return [
        {"prompt": example.prompt, "completion": _answer(text), "label": good}
        for text, good in judged(example)
    ]


def _answer(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]
