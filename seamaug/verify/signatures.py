"""MinHash signatures of many texts, in little memory, and those of them that are like another one.

Rensa makes the signatures: a hundred times as fast here as a plain loop over datasketch
(benchmarks/). Its own index takes three and a half times the memory of this one.
"""

import math
from array import array
from collections.abc import Sequence

import numpy as np
from rensa import RMinHash

PERMUTATIONS = 128  # an estimate at 0.9 then has a standard error of 0.027
_RECALL = 0.99  # of pairs at the threshold, that one band at least is the same
_SEED = 1  # of the hash functions: no setting, for nothing is drawn
_FEW = 1024  # slots of an empty index
_BLOCK = 1 << 14  # signatures entered at a time
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it loses bits


def signatures_of(token_sets: Sequence[Sequence[str]]) -> np.ndarray:
    """MinHash signatures of sets of tokens, uint32 of shape (sets, PERMUTATIONS)."""
    made = np.empty((len(token_sets), PERMUTATIONS), np.uint32)
    for own, tokens in zip(made, token_sets, strict=True):
        # One by one: what makes many at once starts threads for it, which waits for more than it
        # computes where other work runs.
        sketch = RMinHash(PERMUTATIONS, _SEED)
        sketch.update(tokens)
        own[:] = sketch.digest()
    return made


class Signatures:
    """An index by bands (LSH): about 1 KB for each text, whatever its length.

    Texts of which a band is the same share a slot; so do a few others by chance, and what is
    found there is compared by its whole signature. In each band a slot holds the number of the
    latest text, from which `_before` leads to the earlier ones.
    """

    def __init__(self, threshold: float) -> None:
        self._least = equal_values(threshold)
        self._bands = bands_for(threshold)
        self._values = array("I")
        self._with_slots(_FEW)

    def __len__(self) -> int:
        return len(self._values) // PERMUTATIONS

    def add(self, signatures: np.ndarray) -> None:
        """Remember texts, numbered on from those that are there; shape (n, PERMUTATIONS)."""
        self._values.frombytes(signatures.tobytes())
        if 2 * len(self) <= self._slots:
            self._enter(signatures)
            return
        self._with_slots(4 << len(self).bit_length())
        for start in range(0, len(self), _BLOCK):
            self._enter(self._all()[start : start + _BLOCK])

    def signatures(self, number: int) -> np.ndarray:
        """The signature of one text, shape (1, PERMUTATIONS)."""
        return self._all()[number : number + 1]

    def like(self, signatures: np.ndarray) -> list[set[int]]:
        """Numbers of the texts that each is like, by as many equal values as the threshold asks."""
        return [
            self._alike(own, slots)
            for own, slots in zip(signatures, self._slots_of(signatures), strict=True)
        ]

    def _with_slots(self, slots: int) -> None:
        self._slots = slots
        self._latest = [array("i", [-1]) * slots for _ in range(self._bands)]
        self._before = [array("i") for _ in range(self._bands)]

    def _all(self) -> np.ndarray:
        return np.frombuffer(self._values, np.uint32).reshape(-1, PERMUTATIONS)

    def _enter(self, signatures: np.ndarray) -> None:
        for number, slots in enumerate(self._slots_of(signatures), len(self._before[0])):
            for latest, before, slot in zip(self._latest, self._before, slots, strict=True):
                before.append(latest[slot])
                latest[slot] = number

    def _slots_of(self, signatures: np.ndarray) -> list[list[int]]:
        """For every text its slot in each band."""
        hashed = band_hashes(signatures, self._bands)
        # The upper bits depend on all values, the lowest ones on the lowest ones alone.
        slots: list[list[int]] = (hashed >> np.uint64(65 - self._slots.bit_length())).tolist()
        return slots

    def _alike(self, own: np.ndarray, slots: list[int]) -> set[int]:
        near = set()
        for latest, before, slot in zip(self._latest, self._before, slots, strict=True):
            number = latest[slot]
            while number >= 0:
                near.add(number)
                number = before[number]
        if not near:
            return near
        numbers = np.fromiter(near, np.intp, len(near))
        same = np.count_nonzero(self._all()[numbers] == own, axis=1)
        return set(numbers[same >= self._least].tolist())


def band_hashes(signatures: np.ndarray, bands: int) -> np.ndarray:
    """A hash of each band, uint64 of shape (n, bands): equal where the bands are."""
    split = signatures.reshape(-1, bands, PERMUTATIONS // bands)
    hashed = np.zeros(split.shape[:2], np.uint64)
    for i in range(split.shape[2]):
        hashed = (hashed + split[:, :, i]) * _FACTOR
    return hashed


def equal_values(threshold: float) -> int:
    """Of the signatures of two texts that are alike, at least."""
    return math.ceil(threshold * PERMUTATIONS)


def bands_for(threshold: float) -> int:
    """The fewest LSH bands (of equal size) that find nearly all pairs at the threshold."""
    bands = 1
    while bands < PERMUTATIONS and _recall(threshold, bands) < _RECALL:
        bands *= 2
    return bands


def _recall(threshold: float, bands: int) -> float:
    same = threshold ** (PERMUTATIONS // bands)  # that one band is
    return float(1 - (1 - same) ** bands)
