"""Clusters of the selected seeds: what is learnt about one prompt is learnt for those like it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

_MOST = 24


@dataclass(frozen=True, slots=True)
class Clusters:
    """k-means clusters of seeds, by the seeds' positions among all."""

    labels: dict[int, int]
    centres: list[int]
    """Position of the seed nearest to the middle of each cluster."""


def cluster(vectors: np.ndarray, positions: Sequence[int], seed: int) -> Clusters:
    """About sqrt(n / 2) clusters of the seeds at these positions, 24 at most.

    `vectors`: unit vectors of all seeds, shape (seeds, dimensions), which may be mapped.
    """
    if not len(positions):
        return Clusters({}, [])
    own = np.asarray(vectors[positions], np.float32)
    count = min(_MOST, max(1, round(math.sqrt(len(own) / 2))))
    # Several threads add up in an order of their own, which would change the last bits.
    with threadpool_limits(1):
        found = KMeans(count, n_init=4, random_state=seed % 2**32).fit(own)
        distances = found.transform(own)
    return Clusters(
        dict(zip(map(int, positions), map(int, found.labels_), strict=True)),
        [int(positions[i]) for i in distances.argmin(axis=0)],
    )
