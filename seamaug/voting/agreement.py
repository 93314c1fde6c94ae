"""Whether votes are good enough to flip labels by."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from seamaug.log import logger
from seamaug.models.ensemble import Strength

_FEWEST = 20  # pairs, for their share of agreement to say anything


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the votes (the sign of mu) agree with labels that they had not seen."""

    pairs: int
    share: float

    @property
    def break_even(self) -> float:
        """Share of wrong labels above which flipping what the votes are against pays.

        Votes that are right on a share a of the pairs agree with g = a (1 - p) + (1 - a) p of the
        labels where a share p of these is wrong, each at random. A label that they are against is
        more likely wrong than right where a > 1 - p. Both hold from p = (1 - sqrt(2 g - 1)) / 2;
        half of the labels where g is no more than chance.
        """
        return (1 - math.sqrt(max(0.0, 2 * self.share - 1))) / 2

    def pays(self, noise: float) -> bool:
        """Whether flipping does where a share `noise` of the labels is wrong."""
        return self.pairs >= _FEWEST and noise > self.break_even

    def report(self) -> dict[str, Any]:
        """For strength.json; of too few pairs, how many there are alone."""
        if self.pairs < _FEWEST:
            return {"pairs": self.pairs}
        return {
            "pairs": self.pairs,
            "share": self.share,
            "flipping_pays_above": self.break_even,
        }


def agreement(found: Strength, unseen: np.ndarray) -> Agreement:
    """Of the votes on the pairs `unseen`, (pairs,) of bool.

    All votes count, not only those that are certain, which agree more often: so flipping is put
    off rather too long than too short.
    """
    there = unseen & (found.votes > 0)
    count = int(there.sum())
    return Agreement(count, float((found.mu[there] > 0).mean()) if count else 0.0)


def incorrect_treatment(told: Agreement, noise: float, called: int) -> str:
    """What `auto` stands for; why, where labels are kept that were `called` incorrect."""
    if told.pays(noise):
        return "flip"
    if not called:
        return "keep"
    if told.pairs < _FEWEST:
        why = (
            f"there are {told.pairs} pairs that the voters had not seen, too few to say whether "
            "they can tell wrong labels"
        )
    else:
        why = (
            f"the votes agree with {told.share:.0%} of {told.pairs:,} labels that the voters had "
            f"not seen, so flipping pays only where more than {told.break_even:.0%} of the labels "
            f"are wrong, and `treat.noise` says {noise:.0%}"
        )
    logger.warning(
        f"{called:,} labels called incorrect are kept: {why}; --incorrect decides otherwise"
    )
    return "keep"
