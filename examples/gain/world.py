"""What a scale gives for one seed: data, models to start from, and the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Conversation = list[dict[str, str]]
Gold = Callable[[Sequence[Row], Sequence[Sequence[str]]], list[list[float]]]
"""Seeds and responses to each; the gold score of each response."""


@dataclass(frozen=True)
class World:
    """Everything that the arms of a seed share."""

    policy_start: Path | str
    """What SFT starts from."""
    reward_start: Path | str
    """What the reward model starts from."""
    sft: list[Row]
    """`prompt`, `completion`."""
    pairs: list[Row]
    """`prompt`, `chosen`, `rejected`, some with the wrong label."""
    seeds: list[Row]
    """The prompts of reinforcement learning, with what `seamaug` reads: `prompt`, `golden`,
    `worse`. No training sees these responses."""
    held_out: list[Row]
    """The same, of prompts that nothing else sees."""
    gold: Gold
    """What decides in the end; no arm sees it."""
    judge: str
    """The same as `seamaug diagnose --judge` takes it."""
    settings: dict[str, Any]
    """Config keys of `seamaug` for this scale: generator, embedder, verifiers."""
    about: Row = field(default_factory=dict)
    """What was drawn, for a reader of the results."""


def user(prompt: str) -> Conversation:
    """A prompt as a conversation."""
    return [{"role": "user", "content": prompt}]


def bot(text: str) -> Conversation:
    """A response as the rest of one."""
    return [{"role": "assistant", "content": text}]
