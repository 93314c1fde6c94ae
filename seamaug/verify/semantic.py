"""Semantic duplicates: prompts that say what another seed, or a variant of another one, says."""

from collections.abc import Iterator, Sequence

import numpy as np

_BLOCK = 1 << 16  # rows compared at a time

_Rows = tuple[np.ndarray, np.ndarray]
"""Vectors and the family of each."""


class SemanticDuplicates:
    """Unit vectors of seeds and earlier candidates, each of a family: a seed with its variants.

    Within a family texts mean the same on purpose, so only other families are compared. Candidates
    take 2 bytes a dimension (float16, which moves a cosine by less than 0.001).
    """

    def __init__(self, seeds: np.ndarray, threshold: float) -> None:
        """`seeds`: unit vectors of shape (seeds, dimensions); a seed's row is its family."""
        self._seeds = seeds
        self._threshold = threshold
        self._blocks: list[_Rows] = []
        self._latest: list[_Rows] = []

    def add(self, vectors: np.ndarray, families: Sequence[int]) -> None:
        """Remember candidates."""
        self._latest.append((vectors.astype(np.float16), np.asarray(families, np.int32)))
        if sum(len(rows) for rows, _ in self._latest) >= _BLOCK:
            self._blocks.append(_joined(self._latest))
            self._latest = []

    def repeats(self, vectors: np.ndarray, families: Sequence[int]) -> list[bool]:
        """Whether each says what another family, or another one before it here, already says.

        One that repeats something is not itself compared with: it will not be there.
        """
        own = np.asarray(families)
        near = np.zeros(len(vectors), bool)
        for block, others in self._remembered():
            near |= self._close(vectors, own, block, others).any(axis=1)
        close = self._close(vectors, own, vectors, own)
        for i in range(len(near)):
            near[i] |= (close[i, :i] & ~near[:i]).any()
        return [bool(value) for value in near]

    def _remembered(self) -> Iterator[_Rows]:
        for start in range(0, len(self._seeds), _BLOCK):
            block = np.asarray(self._seeds[start : start + _BLOCK])
            yield block, np.arange(start, start + len(block))
        yield from self._blocks
        if self._latest:
            yield _joined(self._latest)

    def _close(
        self, vectors: np.ndarray, own: np.ndarray, block: np.ndarray, families: np.ndarray
    ) -> np.ndarray:
        """Which pairs of different families are above the threshold, shape (vectors, block)."""
        cosines = vectors @ block.T.astype(np.float32, copy=False)
        found: np.ndarray = (cosines >= self._threshold) & (own[:, None] != families)
        return found


def _joined(rows: Sequence[_Rows]) -> _Rows:
    return np.concatenate([r for r, _ in rows]), np.concatenate([f for _, f in rows])
