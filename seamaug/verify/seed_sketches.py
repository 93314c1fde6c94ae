"""Which seeds a prompt nearly repeats, among as many as there are.

What is kept of a seed is the key of each band of its MinHash, with its position in the order of
these keys: 128 bytes where there are 16 bands. Its sketch is made anew where a band is the same; so
the answers are those of an index that keeps the sketches, 2 KB each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from rensa import RMinHash

from seamaug.records import Message

Prompts = Iterable[Sequence[Message]]


class SeedSketches:
    """Seeds by the bands of their sketches.

    prompts: of all seeds, in order. prompts_at: those at given positions. sketch: of a prompt, with
        `bands` times some number of hashes.
    """

    def __init__(
        self,
        prompts: Prompts,
        prompts_at: Callable[[np.ndarray], Prompts],
        sketch: Callable[[Sequence[Message]], RMinHash],
        bands: int,
    ) -> None:
        self._prompts_at = prompts_at
        self._sketch = sketch
        self._bands = bands
        rows = (_band_keys(sketch(prompt), bands) for prompt in prompts)
        keys = np.fromiter(rows, np.dtype((np.uint32, bands))).T
        self._order = [np.argsort(band, kind="stable").astype(np.uint32) for band in keys]
        self._keys = [band[order] for band, order in zip(keys, self._order, strict=True)]

    def like(self, sketch: RMinHash, threshold: float) -> set[int]:
        """Positions of the seeds with a band in common and an estimated Jaccard index of at least
        the threshold."""
        places = np.unique(np.concatenate(list(self._with_a_band_of(sketch))))
        found = self._prompts_at(places) if len(places) else ()
        return {
            int(place)
            for place, prompt in zip(places, found, strict=True)
            if self._sketch(prompt).jaccard(sketch) >= threshold
        }

    def _with_a_band_of(self, sketch: RMinHash) -> Iterator[np.ndarray]:
        own = _band_keys(sketch, self._bands)
        for keys, order, key in zip(self._keys, self._order, own, strict=True):
            first, last = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
            yield order[first:last]


def _band_keys(sketch: RMinHash, bands: int) -> np.ndarray:
    """A hash of each band, shape (bands,): equal where the bands are, and hardly ever elsewhere."""
    hashes = np.array(sketch.digest(), np.uint32).reshape(bands, -1)
    # FNV-1a over the hashes of a band; overflow is wanted.
    keys = np.full(bands, 0x811C9DC5, np.uint32)
    for column in hashes.T:
        keys = (keys ^ column) * np.uint32(0x01000193)
    return keys
