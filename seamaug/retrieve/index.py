"""Nearest neighbours by cosine: exact, or through clusters where there are many vectors."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seamaug.clock import clock
from seamaug.config import RetrieveConfig
from seamaug.errors import RunFolderError
from seamaug.log import logger
from seamaug.retrieve.clustered import ClusteredIndex, Effort
from seamaug.retrieve.exact import (
    Found,
    has_gpu,
    load_faiss,
    nearest_by,
    need_faiss,
    search_exactly,
)
from seamaug.run.folder import whole_file
from seamaug.run.seal import sealed_json, unsealed_json

_BLOCK = 65_536


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
        clustered = _stored(faiss, vectors, config, folder)
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


def _stored(
    faiss: Any, vectors: np.ndarray, config: RetrieveConfig, folder: Path
) -> ClusteredIndex:
    """The index with clusters in `folder`; built, extended or calibrated anew where it must be."""
    manifest, path = folder / "index.json", folder / "index.faiss"
    known = _read(manifest)
    clustered = _reopened(faiss, path, known, vectors) if known else None
    if clustered is None:
        known, clustered = {}, ClusteredIndex.trained(faiss, vectors)
    if len(clustered) < len(vectors) or known["recall"] != config.recall:
        clustered.append(vectors[len(clustered) :])
        clustered.calibrate(vectors, config.recall, nearest_by(config.engine))
        clustered.index.nprobe = 1  # a search sets its own; stored, it would differ by the last one
        manifest.unlink(missing_ok=True)  # it vouches for the other file
        with whole_file(path) as temporary:
            temporary.write_bytes(memoryview(faiss.serialize_index(clustered.index)))
        with whole_file(manifest) as temporary:
            temporary.write_text(sealed_json(_manifest(clustered, vectors, config.recall, path)))
    _explain(clustered, vectors, config, path)
    return clustered


def _manifest(
    clustered: ClusteredIndex, vectors: np.ndarray, recall: float, path: Path
) -> dict[str, Any]:
    return {
        "file": _sum(path),
        "rows": len(vectors),
        "dimensions": vectors.shape[1],
        "fingerprint": fingerprint(vectors),
        "recall": recall,
        "efforts": [asdict(effort) for effort in clustered.efforts],
    }


def _read(manifest: Path) -> dict[str, Any]:
    """What it says; empty where the index was never finished, or has to be built anew."""
    if not manifest.exists():
        return {}
    try:
        return unsealed_json(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logger.warning(f"{manifest} is damaged ({error}): the index is built anew")
        return {}


def _reopened(
    faiss: Any, path: Path, known: dict[str, Any], vectors: np.ndarray
) -> ClusteredIndex | None:
    """The stored index; None where it has to be built anew."""
    rows, dimensions = known["rows"], known["dimensions"]
    if (
        dimensions != vectors.shape[1]
        or rows > len(vectors)
        or known["fingerprint"] != fingerprint(vectors[:rows])
    ):
        raise RunFolderError(
            f"{path} was built from other vectors ({rows:,} of {dimensions} dimensions) than these "
            f"{len(vectors):,} of {vectors.shape[1]}; delete {path.parent / 'index.json'} and run "
            "the same command again: the index is built anew"
        )
    if not path.exists() or _sum(path) != known["file"]:
        logger.warning(f"{path} is missing or damaged: the index is built anew")
        return None
    efforts = [Effort(**effort) for effort in known["efforts"]]
    return ClusteredIndex(faiss.read_index(str(path)), efforts)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(vectors: np.ndarray) -> str:
    """Content hash of vectors, shape and dtype, read a block at a time."""
    digest = hashlib.blake2b(f"{vectors.shape} {vectors.dtype}".encode(), digest_size=16)
    for start in range(0, len(vectors), _BLOCK):
        digest.update(np.ascontiguousarray(vectors[start : start + _BLOCK]).view(np.uint8).data)
    return digest.hexdigest()


def _explain(
    clustered: ClusteredIndex, vectors: np.ndarray, config: RetrieveConfig, path: Path
) -> None:
    size = f"{path.stat().st_size / 2**20:,.0f} MiB"
    built = f"index: {clustered.index.nlist:,} clusters of {len(vectors):,} vectors, {size}"
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
