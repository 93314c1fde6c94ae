"""Which of the nearest are taken: not only near, but unlike each other and of several sources."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seamaug.config import RetrieveConfig


def diverse(
    cosines: np.ndarray,
    vectors: np.ndarray,
    sources: Sequence[str],
    count: int,
    config: RetrieveConfig,
) -> list[int]:
    """Up to `count` of the found ones, as indices into them, in the order in which they were taken.

    Of those in the cosine band, each time the one of highest maximal marginal relevance,
    λ cos(query, x) − (1 − λ) max cos(x, taken) (Carbonell & Goldstein 1998), whose source is not
    used up. There are fewer than `count` where the band or the sources give no more.

    cosines: to the query, (found,); vectors: unit, (found, dimensions).
    """
    free = (cosines >= config.low) & (cosines < config.high)
    similar = np.asarray(vectors, np.float32) @ np.asarray(vectors, np.float32).T
    likest = np.full(len(cosines), -np.inf, np.float32)  # each one's cosine to the likest taken
    used: Counter[str] = Counter()
    taken: list[int] = []
    while free.any() and len(taken) < count:
        alike = likest if taken else np.zeros_like(likest)
        relevance = config.relevance * cosines - (1 - config.relevance) * alike
        best = int(np.argmax(np.where(free, relevance, -np.inf)))  # of equals the nearest
        taken.append(best)
        free[best] = False
        likest = np.maximum(likest, similar[best])
        used[sources[best]] += 1
        if used[sources[best]] == config.per_source:
            free &= np.array([source != sources[best] for source in sources])
    return taken
