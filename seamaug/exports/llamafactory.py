"""LLaMA-Factory (0.9.5): data/converter.py, SharegptDatasetConverter with OpenAI's tags.

It skips a row whose turns do not alternate with no more than a warning, so such a row is left out
here, and counted.
"""

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.exports.form import MESSAGE, Form, Row, conversations, judged, unpaired
from seamaug.records import MESSAGES


def forms() -> tuple[Form, ...]:
    """SFT, preference pairs for the reward model and for DPO, and KTO."""
    return (
        conversations("sft.yaml", unfit=_out_of_turn, remark=_empty_system),
        Form(
            "preference",
            pa.schema([("conversations", MESSAGES), ("chosen", MESSAGE), ("rejected", MESSAGE)]),
            _pairs,
            ("reward.yaml", "dpo.yaml"),
            lambda example: unpaired(example) or _out_of_turn(example),
            _empty_system,
        ),
        Form(
            "kto",
            pa.schema([("messages", MESSAGES), ("label", pa.bool_())]),
            lambda example: [
                {"messages": example.with_response(text), "label": good}
                for text, good in judged(example)
            ],
            ("kto.yaml",),
            lambda example: unpaired(example) or _out_of_turn(example),
            _empty_system,
            shuffled=True,
        ),
    )


def _pairs(example: Example) -> list[Row]:
    return [
        {
            "conversations": example.prompt,
            "chosen": {"role": "assistant", "content": example.chosen},
            "rejected": {"role": "assistant", "content": rejected},
        }
        for rejected in example.rejected
    ]


def _out_of_turn(example: Example) -> str:
    roles = [turn["role"] for turn in example.prompt]
    turns = roles[1:] if roles[0] == "system" else roles
    expected = (("user", "tool"), ("assistant",))
    if all(role in expected[number % 2] for number, role in enumerate(turns)) and len(turns) % 2:
        return ""
    return "has turns that do not alternate, which LLaMA-Factory skips"


def _empty_system(example: Example) -> str:
    first = example.prompt[0]
    empty = first["role"] == "system" and not first["content"]
    return "has an empty system turn, for which the template's default is taken" if empty else ""
