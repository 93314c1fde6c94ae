"""Nearest neighbours by cosine: exact, or through clusters where there are many vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from seamaug.clock import clock
from seamaug.config import RetrieveConfig
from seamaug.log import logger
from seamaug.retrieve.clustered import ClusteredIndex
from seamaug.retrieve.exact import (
    Found,
    has_gpu,
    load_faiss,
    nearest_by,
    need_faiss,
    search_exactly,
)
from seamaug.retrieve.shards import size_of, stored_index


class VectorIndex:
    """Inner-product search over unit vectors of shape (n, dimensions), which may be mapped."""

    def __init__(
        self, vectors: np.ndarray, engine: str = "auto", clustered: ClusteredIndex | None = None
    ) -> None:
        self.vectors = vectors
        self._engine = engine
        self._nearest = nearest_by(engine)
        self._clustered = clustered

    def __reduce__(self) -> tuple[Any, ...]:
        # As a plain array, which workers on a node then share, and which need not see the file.
        return VectorIndex, (np.asarray(self.vectors), self._engine, self._clustered)

    def __len__(self) -> int:
        return len(self.vectors)

    def sampled(self, positions: np.ndarray) -> "VectorIndex":
        """An index of a copy of these vectors alone, searched exactly."""
        return VectorIndex(np.asarray(self.vectors[positions]), self._engine)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """Cosines and positions, each (queries, min(k, n)), nearest first."""
        k = min(k, len(self))
        queries = np.asarray(queries, np.float32)
        with clock.kind("index"):
            if self._clustered is None or not self._clustered.answers(k):
                return search_exactly(self.vectors, queries, k, self._nearest)
            cosines, positions = self._clustered.search(self.vectors, queries, k)
            short = positions[:, -1] < 0  # an outlier, in clusters that hold fewer than k
            if short.any():
                cosines[short], positions[short] = search_exactly(
                    self.vectors, queries[short], k, self._nearest
                )
        return cosines, positions


def require_engine(config: RetrieveConfig) -> None:
    """Raise SeamaugError that says how to install faiss where the settings need it."""
    if config.engine == "faiss" or config.index == "ivf":
        need_faiss()


def open_index(vectors: np.ndarray, config: RetrieveConfig, folder: Path) -> VectorIndex:
    """The index that the settings and the number of vectors ask for.

    One with clusters is stored in `folder`. There it is reopened, and extended where vectors were
    added at the end; RunFolderError where it was built from others.
    """
    require_engine(config)
    faiss = load_faiss()
    reason = _why_exact(config, len(vectors), faiss)
    if reason:
        logger.info(f"index: exact search of {len(vectors):,} vectors ({reason})")
        return VectorIndex(vectors, config.engine)
    with clock.kind("index"):
        clustered = stored_index(faiss, vectors, config, folder)
    _explain(clustered, vectors, config, size_of(folder))
    return VectorIndex(vectors, config.engine, clustered)


def _why_exact(config: RetrieveConfig, count: int, faiss: Any) -> str:
    """Empty where clusters are searched."""
    if config.index != "auto":
        return "`retrieve.index: exact`" if config.index == "exact" else ""
    if count < config.exact_below:
        return f"fewer than {config.exact_below:,}"
    if faiss is None:
        return "clusters would need faiss: pip install 'seamaug[cpu]'"
    # There even a million vectors take milliseconds.
    return "on a GPU" if torch.cuda.is_available() or has_gpu(faiss) else ""


def _explain(
    clustered: ClusteredIndex, vectors: np.ndarray, config: RetrieveConfig, size: int
) -> None:
    built = (
        f"index: {clustered.clusters:,} clusters of {len(vectors):,} vectors, "
        f"{size / 2**20:,.0f} MiB"
    )
    if not clustered.efforts:
        logger.warning(
            f"{built}; it does not reach a recall of {config.recall:g} on them at less work than "
            "exact search, which is used instead (`retrieve.recall` lowers it)"
        )
        return
    found = "; ".join(
        f"for up to {e.reach} neighbours {e.clusters} clusters and {e.candidates} candidates give "
        f"a recall of {e.recall:.3f} or more"
        for e in clustered.efforts
    )
    logger.info(f"{built}, since exact search is slow from {config.exact_below:,} on: {found}")
