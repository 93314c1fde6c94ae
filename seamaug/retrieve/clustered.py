"""An inverted file over clusters of vectors, which measures and sets its own recall.

The index holds a code of half a byte per two dimensions (product quantisation, Jégou et al. 2011;
scanned in registers, André et al. 2015). A search looks into the clusters nearest to the query,
ranks their codes, and compares the best of them by the vectors themselves, which stay mapped from
their file: so the cosines are exact, and what a search can lose is a neighbour, not its value.
How many clusters and candidates that takes depends on the data: it is found by trial on a sample,
against exact search. Unlike that of a graph (HNSW), its build does not depend on the timing of
threads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from seamaug.retrieve.exact import Found, Nearest, need_faiss, search_exactly
from seamaug.retrieve.vectors import evenly

REACHES = (32, 128, 512)
"""Neighbours asked for at once, up to which the effort is found; for more, search is exact."""
_SAMPLE = 1024  # vectors whose neighbours are searched exactly, to measure recall
_TRAINING = 50  # vectors per cluster that the centres are fitted on
_ROUNDS = 10  # of k-means
_RANKED = 65_536  # candidates at a time: what faiss needs for a query weighs more than they
_GATHERED = 2_048  # … and with their vectors, which then are still in the cache when multiplied
_BLOCK = 65_536
_GROWTH = 1.25
_CODES = 250  # as many are ranked in the time of comparing one candidate's vector (measured)
_EXACT = 4  # … and in that of comparing one vector in exact search, where all are compared in turn
_FEW = 200_000  # vectors: up to so many, any effort is soon done
_TIE = 1e-6  # cosines this close are one: either neighbour is a true one


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search for up to `reach` neighbours looks at, and the recall that was measured."""

    reach: int
    clusters: int
    candidates: int
    recall: float


def trained(faiss: Any, vectors: np.ndarray) -> Any:
    """An empty index of faiss with its clusters, fitted on an even sample of the vectors."""
    clusters = max(1, round(2 * math.sqrt(len(vectors))))
    dimensions = _padded(vectors[:1]).shape[1]
    index = faiss.index_factory(dimensions, f"IVF{clusters},PQ{dimensions // 2}x4fs")
    index.cp.niter = _ROUNDS
    index.cp.min_points_per_centroid = 1  # few are no reason for a warning
    index.train(_padded(vectors[evenly(len(vectors), _TRAINING * clusters)]))
    return index


def add(index: Any, vectors: np.ndarray) -> None:
    """Add these to the clusters of an index of faiss, a block at a time."""
    for start in range(0, len(vectors), _BLOCK):
        index.add(_padded(vectors[start : start + _BLOCK]))


class ClusteredIndex:
    """Neighbours among unit vectors of shape (n, dimensions), of which it holds codes alone.

    Its shards are indexes of faiss with the same clusters, each of the vectors that follow on those
    of the one before. They may be mapped from files.
    """

    def __init__(self, shards: Sequence[Any], efforts: Sequence[Effort] = ()) -> None:
        self.efforts = list(efforts)
        self._shards = list(shards)
        self._index = shards[0]
        if len(shards) > 1:
            joined = need_faiss().IndexShardsIVF(shards[0].quantizer, self.clusters, False, True)
            for shard in shards:
                joined.add_shard(shard)
            self._index = joined

    def __reduce__(self) -> tuple[Any, ...]:
        return ClusteredIndex, (self._shards, self.efforts)

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self._shards[0].nlist)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def answers(self, k: int) -> bool:
        """Whether it finds so many neighbours at the recall wanted."""
        return any(k <= effort.reach for effort in self.efforts)

    def search(self, vectors: np.ndarray, queries: np.ndarray, k: int) -> Found:
        """The k nearest of those found, with their exact cosines; k as `answers` takes it.

        Where clusters hold fewer, rows end in cosines of -inf and positions of -1.
        """
        return self._look(vectors, queries, k, next(e for e in self.efforts if k <= e.reach))

    def _look(self, vectors: np.ndarray, queries: np.ndarray, k: int, effort: Effort) -> Found:
        for shard in self._shards:
            shard.nprobe = effort.clusters
        known = torch.from_numpy(vectors)
        cosines, positions = [], []
        candidates = min(effort.candidates, len(self))
        step = max(1, _RANKED // candidates)
        for start in range(0, len(queries), step):
            some = np.asarray(queries[start : start + step], np.float32)
            codes = self._index.search(_padded(some), candidates)[1]
            found = torch.from_numpy(np.sort(codes, axis=1))  # of equals the first position
            exact = _cosines(known, torch.from_numpy(some), found)
            order = exact.argsort(dim=1, descending=True, stable=True)[:, :k]
            cosines.append(exact.gather(1, order).numpy())
            positions.append(found.gather(1, order).numpy())
        return np.concatenate(cosines), np.concatenate(positions)

    def calibrate(self, vectors: np.ndarray, recall: float, nearest: Nearest) -> None:
        """Find the least effort at which an even sample of the vectors finds its neighbours."""
        own = evenly(len(vectors), _SAMPLE)
        queries = np.asarray(vectors[own], np.float32)
        truth, _ = search_exactly(vectors, queries, REACHES[-1] + 1, nearest)
        self.efforts = []
        effort = Effort(0, 4, 64, 0.0)
        for reach in REACHES:
            if reach >= truth.shape[1]:
                return
            effort = replace(effort, reach=reach, candidates=max(effort.candidates, 2 * reach))
            least = truth[:, reach] - _TIE  # the first one found is the vector itself
            tried = self._ever_more(vectors, queries, least, effort)
            enough = next((effort for effort in tried if effort.recall >= recall), None)
            if enough is None:
                return
            self.efforts.append(enough)
            effort = enough

    def _ever_more(
        self, vectors: np.ndarray, queries: np.ndarray, least: np.ndarray, effort: Effort
    ) -> Iterator[Effort]:
        """Efforts with their recall: each time more of what helps most for what it costs."""

        def measured(clusters: int, candidates: int) -> Effort:
            tried = Effort(effort.reach, clusters, candidates, 0.0)
            cosines, _ = self._look(vectors, queries, effort.reach + 1, tried)
            hits = (cosines[:, 1:] >= least[:, None]).mean(axis=1)
            # Less two standard errors: the sample is small, and the first success is taken.
            bound = hits.mean() - 2 * hits.std() / math.sqrt(len(hits))
            return replace(tried, recall=float(bound))

        def cost(clusters: int, candidates: int) -> float:
            return clusters * len(self) / self.clusters + _CODES * candidates

        def worth(one: Effort) -> float:
            more = cost(one.clusters, one.candidates) - cost(effort.clusters, effort.candidates)
            return (one.recall - effort.recall) / more

        most = _EXACT / 2 * max(len(self), _FEW)  # half of what exact search takes
        effort = measured(effort.clusters, effort.candidates)
        yield effort
        while True:
            clusters = min(math.ceil(_GROWTH * effort.clusters), self.clusters)
            candidates = min(math.ceil(_GROWTH * effort.candidates), len(self))
            tried = [
                measured(*one)
                for one in ((clusters, effort.candidates), (effort.clusters, candidates))
                if one != (effort.clusters, effort.candidates) and cost(*one) <= most
            ]
            if not tried:
                return
            effort = max(tried, key=worth)
            yield effort


def _cosines(known: torch.Tensor, queries: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Of each query with the vectors at its positions, (queries, candidates); -inf where < 0."""
    step = max(1, _GATHERED // found.shape[1])
    parts = []
    for some, own in zip(torch.split(queries, step), torch.split(found, step), strict=True):
        rows = known.index_select(0, own.clamp(min=0).flatten()).float()
        parts.append((rows.view(*own.shape, -1) @ some[:, :, None])[..., 0])
    return torch.cat(parts).masked_fill(found < 0, -math.inf)


def _padded(vectors: np.ndarray) -> np.ndarray:
    """As float32, with a zero at the end where the dimensions are odd: codes are of two."""
    return np.pad(np.asarray(vectors, np.float32), ((0, 0), (0, vectors.shape[1] % 2)))
