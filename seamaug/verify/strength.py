"""Preference strength of candidates: what an ensemble says of each pair that may be kept."""

from collections.abc import Callable, Sequence

import numpy as np

from seamaug.models.ensemble import Comparison, Ensemble, strength
from seamaug.records import Candidate

AGAINST = "judges against the label"


class PairStrength:
    """Gives candidates mu and sigma, and names those whose label the judges find wrong."""

    def __init__(self, judges: Callable[[], Ensemble], spread: float) -> None:
        """`judges` are loaded where a pair is first shown; `spread`: see `verify.worse`."""
        self._judges = judges
        self._spread = spread

    def problems(self, candidates: Sequence[Candidate]) -> list[str]:
        """A reason against each, or an empty text; mu and sigma stay None where no judge can
        read the pair."""
        if not candidates:
            return []
        margins = self._judges().margins(
            [Comparison(c.prompt, c.chosen, [c.rejected]) for c in candidates]
        )
        found = strength(np.concatenate(margins))
        for own, mu, sigma, votes in zip(
            candidates, found.mu, found.sigma, found.votes, strict=True
        ):
            if votes:
                own.mu, own.sigma = float(mu), float(sigma)
        return [AGAINST if wrong else "" for wrong in found.contradicts(self._spread)]
