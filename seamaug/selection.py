"""Which seeds are worth variants, and which are worth keeping.

SEAMs are read a block at a time, in passes, and may be mapped from a file: what is held is a count
of 65,536 bins, and the positions that are taken.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seamaug.config import SelectConfig

_BLOCK = 65_536
_DIGIT = 16  # bits
_BITS = 64


def worst_first(seam: np.ndarray, count: int | None = None) -> np.ndarray:
    """Positions of the `count` worst scored seeds (None: of all), highest SEAM first.

    Ties are in input order, and of those at the threshold the first are taken. NaN is left out.
    """
    count = scored(seam) if count is None else min(count, scored(seam))
    if not count:
        return np.empty(0, np.int64)
    threshold, ties = _threshold(seam, count)
    positions, values = [], []
    for start, block in _blocks(seam):
        taken = block > threshold
        equal = np.flatnonzero(block == threshold)[:ties]
        taken[equal] = True
        ties -= len(equal)
        own = np.flatnonzero(taken)
        positions.append(own + start)
        values.append(block[own])
    order = np.argsort(-np.concatenate(values), kind="stable")
    return np.concatenate(positions)[order]


def scored(seam: np.ndarray) -> int:
    """How many are not NaN."""
    return sum(int(np.count_nonzero(~np.isnan(block))) for _, block in _blocks(seam))


def worst_share(seam: np.ndarray, share: float) -> np.ndarray:
    """Positions of the worst `share` of the scored seeds (rounded up), worst first."""
    return worst_first(seam, math.ceil(share * scored(seam) - 1e-9))


def worst_ids(seam: Mapping[str, float], ids: Sequence[str], share: float) -> set[str]:
    """Ids of the worst `share` of the scored seeds."""
    values = np.fromiter((seam[seed_id] for seed_id in ids), np.float64, len(ids))
    return {ids[position] for position in worst_share(values, share)}


def select_parents(seam: np.ndarray, config: SelectConfig) -> np.ndarray:
    """Positions of the seeds to make variants of, worst first.

    A seed without any discrepancy has none to reduce and is left out.
    """
    order = worst_first(seam, config.top) if config.top else worst_share(seam, config.share)
    discrepant: np.ndarray = order[seam[order] > 0]
    return discrepant


def overlap(first: set[str], second: set[str]) -> float:
    """Share of the first selection that is in the second as well; NaN for an empty one."""
    return len(first & second) / len(first) if first else math.nan


def _threshold(seam: np.ndarray, count: int) -> tuple[float, int]:
    """The `count`-th highest value, and how many of those equal to it are among the highest.

    Exact, by a radix search: each pass counts the next 16 bits of the values that share the bits
    found so far, and goes on in the bin that holds the `count`-th.
    """
    found = 0
    for shift in range(_BITS - _DIGIT, -1, -_DIGIT):
        bins = np.zeros(1 << _DIGIT, np.int64)
        for _, block in _blocks(seam):
            keys = _keys(block[~np.isnan(block)])
            above = shift + _DIGIT
            if above < _BITS:  # a shift by all bits does nothing
                keys = keys[keys >> np.uint64(above) == np.uint64(found)]
            digits = keys >> np.uint64(shift) & np.uint64((1 << _DIGIT) - 1)
            bins += np.bincount(digits.astype(np.int64), minlength=len(bins))
        from_above = np.cumsum(bins[::-1])
        place = int(np.searchsorted(from_above, count))
        count -= int(from_above[place]) - int(bins[::-1][place])
        found = found << _DIGIT | len(bins) - 1 - place
    return _value(found), count


def _blocks(seam: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(seam), _BLOCK):
        # -0.0 + 0.0 is 0.0: of the two zeros, which are equal, one key.
        yield start, np.asarray(seam[start : start + _BLOCK], np.float64) + 0.0


def _keys(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the numbers: IEEE 754 bits, those below 0 turned over."""
    bits = values.view(np.uint64)
    sign = np.uint64(1 << _BITS - 1)
    return np.where(bits & sign, ~bits, bits | sign)


def _value(key: int) -> float:
    """The number of a key."""
    bits = key ^ (1 << _BITS - 1 if key >> _BITS - 1 else (1 << _BITS) - 1)
    return float(np.uint64(bits).view(np.float64))
