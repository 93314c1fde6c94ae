"""Keep rules: each returns an empty string for keep, or one named reason."""

from typing import Protocol

from seamaug.config import KeepConfig


class KeepRule(Protocol):
    """Decides on a candidate from its SEAM and its parent's, both on the same hack set."""

    name: str

    def __call__(self, seam_before: float, seam_after: float) -> str:
        """Empty to keep, or why not."""
        ...


class Rescore:
    """Keep a variant whose own SEAM is below its parent's by more than the margin.

    This is the literal reading of "keep what reduces the discrepancy"; it says nothing yet about
    what training on the variant does.
    """

    name = "rescore"

    def __init__(self, margin: float) -> None:
        self._margin = margin

    def __call__(self, seam_before: float, seam_after: float) -> str:
        """Compare the two, in standard deviations of the reward model's scores."""
        return "" if seam_before - seam_after > self._margin else "discrepancy not reduced"


_RULES = {Rescore.name: Rescore}


def keep_rule(config: KeepConfig) -> KeepRule:
    """The configured rule."""
    return _RULES[config.rule](config.margin)
