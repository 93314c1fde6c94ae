"""The contrast estimator: golden responses of the nearest different prompts as the hack set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seamaug.config import HackSetConfig


@dataclass(frozen=True, slots=True)
class HackSet:
    """Positions of the seeds whose golden responses form a prompt's hack set."""

    positions: list[int]
    widened: bool
    """The cosine band held too few prompts, so nearer-to-far ones below it were taken."""


class Goldens:
    """Golden responses by position, as the estimator compares them."""

    def __init__(self, texts: Iterable[str], generic_from: int) -> None:
        self.texts = [text.strip().lower() for text in texts]
        counts = Counter(self.texts)
        self.generic = frozenset(text for text, n in counts.items() if n >= generic_from)
        """Responses that many prompts share: they may be right for this one too."""


def contrast_set(
    own: int,
    neighbours: Sequence[int],
    cosines: np.ndarray,
    goldens: Goldens,
    config: HackSetConfig,
) -> HackSet:
    """Hack set of the prompt at position `own` from its neighbours, nearest first.

    Prompts at or above `config.high` may share the answer and are left out, as are those whose
    golden response is the prompt's own or was already taken. Generic responses are taken only
    where without them there are fewer than `config.at_least`. The paper's band is [0.8, 0.9) with
    k = 30.
    """
    specific = _nearest(own, neighbours, cosines, goldens.texts, goldens.generic, config)
    if len(specific.positions) >= min(config.at_least, config.k) or not goldens.generic:
        return specific
    return _nearest(own, neighbours, cosines, goldens.texts, frozenset(), config)


def _nearest(
    own: int,
    neighbours: Sequence[int],
    cosines: np.ndarray,
    goldens: Sequence[str],
    excluded: frozenset[str],
    config: HackSetConfig,
) -> HackSet:
    seen = {goldens[own], *excluded}
    below: list[int] = []
    in_band = 0
    for position, cosine in zip(neighbours, cosines, strict=True):
        if position == own or cosine >= config.high or goldens[position] in seen:
            continue
        if len(below) == config.k:
            break
        seen.add(goldens[position])
        below.append(position)
        in_band += cosine >= config.low
    if in_band >= min(config.at_least, config.k):
        return HackSet(below[:in_band], widened=False)
    return HackSet(below, widened=True)
