"""Which seeds a prompt nearly repeats, among as many as there are.

What is kept of a seed is the hash of each band of its MinHash signature, with its position in the
order of these hashes: 128 bytes where there are 16 bands. Its signature is made anew where a band
is the same; so the answers are those of an index that keeps the signatures, 1 KB each.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from seamaug.records import Message
from seamaug.verify.signatures import band_hashes, bands_for, equal_values

Prompts = Iterable[Sequence[Message]]
_BATCH = 1024  # seeds that are read at a time


class SeedBands:
    """Seeds by the bands of their signatures.

    prompts: of all seeds, in order. prompts_at: those at given positions. signatures: of prompts,
        uint32 of shape (prompts, PERMUTATIONS).
    """

    def __init__(
        self,
        prompts: Prompts,
        prompts_at: Callable[[np.ndarray], Prompts],
        signatures: Callable[[Sequence[Sequence[Message]]], np.ndarray],
        threshold: float,
    ) -> None:
        self._prompts_at = prompts_at
        self._signatures = signatures
        self._threshold = threshold
        self._count = bands_for(threshold)
        rest = iter(prompts)
        parts = [np.empty((0, self._count), np.uint32)]
        while batch := list(islice(rest, _BATCH)):
            parts.append(self._bands(signatures(batch)))
        hashes = np.concatenate(parts).T
        self._order = [np.argsort(band, kind="stable").astype(np.uint32) for band in hashes]
        self._hashes = [band[order] for band, order in zip(hashes, self._order, strict=True)]

    def like(self, signatures: np.ndarray) -> list[set[int]]:
        """For each signature the positions of the seeds with a band in common and as many equal
        values as the threshold asks; `signatures` has shape (n, PERMUTATIONS)."""
        return [
            self._alike(own, places)
            for own, places in zip(signatures, self._with_a_band_of(signatures), strict=True)
        ]

    def _alike(self, signature: np.ndarray, places: list[np.ndarray]) -> set[int]:
        if not places:
            return set()
        near = np.unique(np.concatenate(places))
        found = self._signatures(list(self._prompts_at(near)))
        same = np.count_nonzero(found == signature, axis=1)
        return set(near[same >= equal_values(self._threshold)].tolist())

    def _with_a_band_of(self, signatures: np.ndarray) -> list[list[np.ndarray]]:
        places: list[list[np.ndarray]] = [[] for _ in signatures]
        own = self._bands(signatures).T
        for hashes, order, keys in zip(self._hashes, self._order, own, strict=True):
            first, last = (np.searchsorted(hashes, keys, side) for side in ("left", "right"))
            for i in np.flatnonzero(last > first):
                places[i].append(order[first[i] : last[i]])
        return places

    def _bands(self, signatures: np.ndarray) -> np.ndarray:
        # The upper bits depend on all values of a band.
        return (band_hashes(signatures, self._count) >> np.uint64(32)).astype(np.uint32)
