"""Nearest neighbours by cosine, through FAISS."""

from typing import Any

import numpy as np

from seamaug.clock import clock
from seamaug.errors import SeamaugError


def require_faiss() -> Any:
    """The faiss module; raises SeamaugError that says how to install it."""
    try:
        import faiss
    except ImportError:
        raise SeamaugError(
            "faiss is not installed: pip install 'seamaug[cpu]' (or 'seamaug[gpu]')"
        ) from None
    return faiss


class VectorIndex:
    """Exact inner-product search over unit vectors of shape (n, dimensions)."""

    def __init__(self, vectors: np.ndarray) -> None:
        faiss = require_faiss()
        self.vectors = vectors
        with clock.kind("index"):
            self._index = faiss.IndexFlatIP(vectors.shape[1])
            self._index.add(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and positions, each (queries, min(k, n)), nearest first."""
        with clock.kind("index"):
            cosines, positions = self._index.search(queries, min(k, len(self)))
        return cosines, positions
