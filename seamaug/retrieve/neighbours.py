"""Which of the nearest are taken: not only near, but unlike each other and of several sources."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamaug.config import RetrieveConfig
from seamaug.retrieve.exact import Found
from seamaug.retrieve.farther import search_farther
from seamaug.retrieve.index import VectorIndex

Near = tuple[np.ndarray, np.ndarray]
"""Positions and cosines of some seeds."""


class Neighbours:
    """Finds `count` neighbours for each of many seeds, among the `pool` nearest.

    Where band and sources leave too few of these, it looks four times as far, until there are
    enough or the band ends; in the end at all seeds.
    """

    def __init__(
        self, index: VectorIndex, sources: pa.ChunkedArray, count: int, config: RetrieveConfig
    ) -> None:
        self._index = index
        self._count = count
        self._config = config
        self._size = max(config.pool, count)
        # Numbers in place of texts, and of one source where none is told from another.
        self._sources = np.zeros(len(index), np.int32)
        if config.per_source is not None:
            numbers = sources.dictionary_encode().unify_dictionaries()
            self._sources = np.concatenate([own.indices.to_numpy() for own in numbers.chunks])
        self._most = config.per_source or count
        self._per_source = np.bincount(self._sources)

    def of(self, positions: Sequence[int]) -> list[Near]:
        """Those of each seed, in the order in which they were taken."""
        chosen: dict[int, Near] = {}

        def search(some: list[int], reach: int) -> Found:
            return self._index.search(self._index.vectors[some], reach)

        def is_enough(own: int, near: np.ndarray, cosines: np.ndarray, reach: int) -> bool:
            others = near != own  # a seed is its own nearest neighbour
            chosen[own] = self._chosen(near[others], cosines[others])
            band_ends = cosines[-1] < self._config.low
            return bool(band_ends) or len(chosen[own][0]) >= self._possible(own)

        search_farther(search, positions, self._size + 1, len(self._index), is_enough)
        return [chosen[position] for position in positions]

    def _possible(self, own: int) -> int:
        """How many neighbours of a seed all sources together can give."""
        sizes = np.minimum(self._per_source, self._most).sum()
        alone = self._per_source[self._sources[own]] <= self._most
        return int(min(self._count, sizes - alone))

    def _chosen(self, near: np.ndarray, cosines: np.ndarray) -> Near:
        """The neighbours among these, nearest first.

        To choose from are the nearest in the band, as many as the pool holds, and behind them the
        first of sources that are not used up: so a far look is no larger choice.
        """
        band = np.flatnonzero((cosines >= self._config.low) & (cosines < self._config.high))
        first = band[_among_first(self._sources[near[band]], self._most)][: self._count]
        pool = np.union1d(band[: self._size], first)
        near, cosines = near[pool], cosines[pool]
        taken = diverse(
            cosines, self._index.vectors[near], self._sources[near], self._count, self._config
        )
        return near[taken], cosines[taken]


def _among_first(groups: np.ndarray, most: int) -> np.ndarray:
    """Which are among the first `most` of their group."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return places < most


def diverse(
    cosines: np.ndarray,
    vectors: np.ndarray,
    sources: Sequence[str] | np.ndarray,
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
