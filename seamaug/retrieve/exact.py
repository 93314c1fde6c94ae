"""Exact search: queries against blocks of vectors, by faiss or by a matmul of torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from seamaug.errors import SeamaugError

Found = tuple[np.ndarray, np.ndarray]
"""Cosines, float32, and positions, int64, both of shape (queries, k), nearest first."""
Nearest = Callable[[np.ndarray, np.ndarray, int], Found]
"""(queries, block of vectors, k at most the block's size) to the k nearest of the block."""

_BLOCK = 65_536  # vectors at a time: what float16 is turned to float32 in, or a GPU is sent
_QUERIES = 256  # at a time: their cosines with a block are 64 MiB
_GPU_K = 2048  # neighbours that faiss finds on a GPU, at most


def load_faiss() -> Any:
    """The faiss module, None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def need_faiss() -> Any:
    """The faiss module; raises SeamaugError that says how to install it."""
    if (faiss := load_faiss()) is None:
        raise SeamaugError(
            "`retrieve.engine: faiss` and `retrieve.index: ivf` need faiss: pip install "
            "'seamaug[cpu]' (or 'seamaug[gpu]'); with both left to `auto`, torch searches exactly"
        )
    return faiss


def nearest_by(engine: str) -> Nearest:
    """The function that searches a block: by `faiss`, by `torch`, or by `auto`.

    `auto` takes faiss where it was built for a GPU that is there, else torch, whose matmul is about
    three times as fast as that of faiss's CPU build (benchmarks/README.md) and uses a GPU as well.
    """
    if engine == "faiss" or (engine == "auto" and has_gpu(load_faiss())):
        return _by_faiss(need_faiss())
    return _by_torch


def has_gpu(faiss: Any) -> bool:
    """Whether faiss, None where it is missing, sees a GPU."""
    return faiss is not None and faiss.get_num_gpus() > 0


def search_exactly(vectors: np.ndarray, queries: np.ndarray, k: int, nearest: Nearest) -> Found:
    """The k nearest of the vectors, which may be mapped from a file; nothing else is kept."""
    cosines = np.empty((len(queries), 0), np.float32)
    positions = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[start : start + _BLOCK], np.float32)
        near, found = nearest(queries, block, min(k, len(block)))
        cosines = np.concatenate([cosines, near], axis=1)
        positions = np.concatenate([positions, found + start], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        cosines = np.take_along_axis(cosines, order, axis=1)
        positions = np.take_along_axis(positions, order, axis=1)
    return cosines, positions


def _by_faiss(faiss: Any) -> Nearest:
    resources = faiss.StandardGpuResources() if has_gpu(faiss) else None

    def nearest(queries: np.ndarray, block: np.ndarray, k: int) -> Found:
        how = {"metric": faiss.METRIC_INNER_PRODUCT}
        if resources is not None and k <= _GPU_K:
            found: Found = faiss.knn_gpu(resources, queries, block, k, **how)
        else:
            found = faiss.knn(queries, block, k, **how)
        return found

    return nearest


def _by_torch(queries: np.ndarray, block: np.ndarray, k: int) -> Found:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = torch.from_numpy(block).to(device).T
    found = [
        (some.to(device) @ known).topk(k, dim=1)
        for some in torch.split(torch.from_numpy(queries), _QUERIES)
    ]
    near, positions = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return near, positions
