"""A search that goes farther for those alone that did not find enough near by."""

from collections.abc import Callable, Sequence

import numpy as np

from seamaug.retrieve.exact import Found

_FOUND = 1 << 20  # neighbours found at a time, of 12 bytes each


def search_farther(
    search: Callable[[list[int], int], Found],
    positions: Sequence[int],
    reach: int,
    total: int,
    is_enough: Callable[[int, np.ndarray, np.ndarray, int], bool],
) -> None:
    """Look at `reach` neighbours of each position, then at four times as many, in the end at all.

    search: positions and how many neighbours, to cosines and neighbours of each, nearest first.
    total: of what is searched. is_enough: takes a position with its neighbours, their cosines and
        the reach, and says whether it needs to look no farther; the last call for it counts.

    Those that look farther do so together, since a search of all vectors for one alone would take
    nearly as long.
    """
    short, reach = list(positions), min(reach, total)
    while short:
        left = []
        at_once = max(1, _FOUND // reach)
        for start in range(0, len(short), at_once):
            some = short[start : start + at_once]
            cosines, found = search(some, reach)
            for own, near, cosine in zip(some, found, cosines, strict=True):
                if not is_enough(own, near, cosine, reach):
                    left.append(own)
        if reach == total:
            return
        short, reach = left, min(4 * reach, total)
