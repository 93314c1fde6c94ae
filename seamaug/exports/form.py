"""What a dialect consists of: forms, each one kind of row in files of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.records import MESSAGES

Row = dict[str, Any]
Objection = Callable[[Example], str]
"""Says what is the matter with an example; empty if nothing is."""

MESSAGE = MESSAGES.value_type
MARGIN = pa.field("margin", pa.float64())


def nothing(example: Example) -> str:
    """No objection."""
    return ""


def unpaired(example: Example) -> str:
    """An example of which no worse response is known is no preference."""
    return "" if example.rejected else "has no rejected response"


@dataclass(frozen=True)
class Form:
    """One kind of row: `NAME/train.parquet`, and `NAME/validation.parquet`, of one schema."""

    name: str
    schema: pa.Schema
    rows: Callable[[Example], list[Row]]
    """The rows that an example gives."""
    files: tuple[str, ...]
    """Scripts or configs, in the dialect's folder of templates, that train on it."""
    unfit: Objection = nothing
    """Why the form cannot carry an example, which is then left out, and counted."""
    remark: Objection = nothing
    """What the consumer does to an example that its user should know of."""
    takes_margin: bool = False
    """Whether the consumer reads a column `margin`."""
    shuffled: bool = False
    """Whether rows are in random order, some thousands at a time."""


def conversations(*files: str, remark: Objection = nothing, unfit: Objection = nothing) -> Form:
    """`messages`: prompt and chosen response as one conversation."""
    return Form(
        "sft",
        pa.schema([("messages", MESSAGES)]),
        lambda example: [{"messages": example.with_response(example.chosen)}],
        files,
        unfit,
        remark,
    )


def pairs(*files: str, remark: Objection = nothing, takes_margin: bool = False) -> Form:
    """`chosen` and `rejected`: full conversations with the prompt in common."""
    return Form(
        "preference",
        pa.schema([("chosen", MESSAGES), ("rejected", MESSAGES)]),
        lambda example: [
            {
                "chosen": example.with_response(example.chosen),
                "rejected": example.with_response(rejected),
            }
            for rejected in example.rejected
        ],
        files,
        unpaired,
        remark,
        takes_margin,
    )


def judged(example: Example) -> list[tuple[str, bool]]:
    """Each response with whether it is the desirable one: for KTO.

    Trainers estimate KTO's KL from mismatched pairs: each prompt with the response of the row
    before it. So rows of one prompt must not stand together, and KTO's forms are `shuffled`.
    """
    return [(example.chosen, True), *((text, False) for text in example.rejected)]
