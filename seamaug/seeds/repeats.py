"""Which of many rows repeat an earlier one, by a key of each."""

import numpy as np


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """By position, the first position with the same key; in little memory where few are repeated.

    keys: shape (rows,).
    """
    first = np.arange(len(keys))
    ordered = np.sort(keys)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(repeated):
        place = np.minimum(np.searchsorted(repeated, keys), len(repeated) - 1)
        own = np.flatnonzero(repeated[place] == keys)
        _, at, number = np.unique(place[own], return_index=True, return_inverse=True)
        first[own] = own[at][number]
    return first
