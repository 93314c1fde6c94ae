"""Semantic duplicates: prompts that say what another seed, or a variant of another one, says."""

from collections.abc import Sequence

import numpy as np

_BLOCK = 1 << 16  # rows compared at a time


class SemanticDuplicates:
    """Unit vectors of seeds and earlier candidates, each of a family: a seed with its variants.

    Within a family texts mean the same on purpose, so only other families are compared. Candidates
    take 2 bytes a dimension (float16, which moves a cosine by less than 0.001).
    """

    def __init__(self, seeds: np.ndarray, threshold: float) -> None:
        """`seeds`: unit vectors of shape (seeds, dimensions); a seed's row is its family."""
        self._seeds = seeds
        self._threshold = threshold
        self._vectors = np.empty((1024, seeds.shape[1]), np.float16)
        self._families = np.empty(1024, np.int32)
        self._count = 0

    def add(self, vectors: np.ndarray, families: Sequence[int]) -> None:
        """Remember candidates; the store doubles when it is full."""
        end = self._count + len(vectors)
        if end > len(self._vectors):
            grow = max(end, 2 * len(self._vectors)) - len(self._vectors)
            self._vectors = np.pad(self._vectors, ((0, grow), (0, 0)))
            self._families = np.pad(self._families, (0, grow))
        self._vectors[self._count : end] = vectors
        self._families[self._count : end] = families
        self._count = end

    def repeats(self, vectors: np.ndarray, families: Sequence[int]) -> list[bool]:
        """Whether each says what another family, or another one before it here, already says.

        One that repeats something is not itself compared with: it will not be there.
        """
        own = np.asarray(families)
        near = np.zeros(len(vectors), bool)
        for start in range(0, len(self._seeds), _BLOCK):
            block = np.asarray(self._seeds[start : start + _BLOCK])
            near |= self._close(vectors, own, block, np.arange(start, start + len(block))).any(1)
        for start in range(0, self._count, _BLOCK):
            stop = min(start + _BLOCK, self._count)
            block = self._vectors[start:stop].astype(np.float32)
            near |= self._close(vectors, own, block, self._families[start:stop]).any(1)
        close = self._close(vectors, own, vectors, own)
        for i in range(len(near)):
            near[i] |= (close[i, :i] & ~near[:i]).any()
        return [bool(value) for value in near]

    def _close(
        self, vectors: np.ndarray, own: np.ndarray, block: np.ndarray, families: np.ndarray
    ) -> np.ndarray:
        """Which pairs of different families are above the threshold, shape (vectors, block)."""
        found: np.ndarray = (vectors @ block.T >= self._threshold) & (own[:, None] != families)
        return found
