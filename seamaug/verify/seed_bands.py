"""Which seeds a prompt nearly repeats, among as many as there are.

What is kept of a seed is the hash of each band of its MinHash signature with its position, sorted:
128 bytes where there are 16 bands, in a mapped file where seeds are many. Its signature is made
anew where a band is the same; so the answers are those of an index that keeps the signatures.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from seamaug.records import Message
from seamaug.scratch import scratch_array
from seamaug.seeds import Seeds
from seamaug.verify.signatures import band_hashes, bands_for, equal_values

_BATCH = 1024  # seeds that are read at a time
_POSITION = np.uint64(2**32 - 1)


class SeedBands:
    """Seeds by the bands of their signatures.

    signatures: of prompts, uint32 of shape (prompts, PERMUTATIONS).
    """

    def __init__(
        self,
        seeds: Seeds,
        signatures: Callable[[Sequence[Sequence[Message]]], np.ndarray],
        threshold: float,
    ) -> None:
        self._seeds = seeds
        self._signatures = signatures
        self._threshold = threshold
        # In each band a seed is a hash (upper half) and a position (lower half).
        self._bands = scratch_array((bands_for(threshold), len(seeds)), np.uint64)
        rest = seeds.prompts()
        for start in range(0, len(seeds), _BATCH):
            hashes = self._hashes(signatures(list(islice(rest, _BATCH))))
            positions = np.arange(start, start + hashes.shape[1], dtype=np.uint64)
            self._bands[:, start : start + _BATCH] = hashes | positions
        for band in self._bands:
            band.sort()

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
        near = np.unique(np.concatenate(places)).astype(np.int64)
        found = self._signatures(self._seeds.prompts_at(near))
        same = np.count_nonzero(found == signature, axis=1)
        return set(near[same >= equal_values(self._threshold)].tolist())

    def _with_a_band_of(self, signatures: np.ndarray) -> list[list[np.ndarray]]:
        places: list[list[np.ndarray]] = [[] for _ in signatures]
        for band, own in zip(self._bands, self._hashes(signatures), strict=True):
            first = np.searchsorted(band, own, "left")
            last = np.searchsorted(band, own | _POSITION, "right")
            for i in np.flatnonzero(last > first):
                places[i].append(band[first[i] : last[i]] & _POSITION)
        return places

    def _hashes(self, signatures: np.ndarray) -> np.ndarray:
        """By band and signature, in the upper half, whose bits depend on all values of a band."""
        return band_hashes(signatures, len(self._bands)).T & ~_POSITION
