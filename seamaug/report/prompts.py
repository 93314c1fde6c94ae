"""The selected prompts of a run, and the map on which all its seeds lie."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from seamaug.clusters import Clusters, cluster
from seamaug.retrieve.vectors import open_vectors
from seamaug.run.folder import read_part

_MOST_CLUSTERED = 10_000


@dataclass(frozen=True)
class Parents:
    """The selected seeds of a run, without their texts."""

    folder: Path
    ids: list[str]
    positions: np.ndarray
    """Among all seeds, (parents,)."""

    def some(self, size: int) -> list[int]:
        """Places of up to `size` of them: by content hash, so at random, but always the same."""
        ranked = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        return sorted(ranked[:size])

    def texts(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Stored rows (`prompt`, `golden`, `seams`) of these parents, by id."""
        names = ["id", "prompt", "golden", "seams"]
        wanted = pa.array(sorted(ids), pa.string())
        return {
            row["id"]: row
            for table in _parts(self.folder, names)
            for row in table.filter(pc.is_in(table["id"], wanted)).to_pylist()
        }


def read_parents(run: Path) -> Parents:
    """The parents of a run; none where their stage is gone."""
    folder = run / "stages" / "parents"
    ids: list[str] = []
    positions: list[int] = []
    for table in _parts(folder, ["id", "position"]):
        ids += table["id"].to_pylist()
        positions += table["position"].to_pylist()
    return Parents(folder, ids, np.array(positions, np.int64))


def _parts(folder: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    for path in sorted(folder.glob("*.parquet"), key=lambda path: int(path.stem)):
        yield read_part(path).select(names)


@dataclass(frozen=True)
class PromptMap:
    """Seeds in the plane of their two principal components."""

    positions: np.ndarray
    """Of the seeds shown, (points,)."""
    plane: np.ndarray
    """(points, 2)."""
    explained: float
    """Share of the vectors' variance that the two axes hold."""


def prompt_map(run: Path, seeds: np.ndarray) -> PromptMap | None:
    """The plane in which these seeds (positions) lie furthest apart; None without vectors.

    Principal components, not t-SNE: distances keep their meaning, and the same run gives the same
    map.
    """
    vectors = _vectors(run)
    if vectors is None or len(seeds) < 3:
        return None
    own = np.asarray(vectors[seeds], np.float32)
    with threadpool_limits(1):
        found = PCA(2, svd_solver="full").fit(own)
        plane = found.transform(own)
    return PromptMap(seeds, plane, float(found.explained_variance_ratio_.sum()))


def parent_clusters(run: Path, parents: Parents, seed: int) -> Clusters | None:
    """Clusters of the selected seeds, as the run has them; of up to 10,000, else of so many."""
    vectors = _vectors(run)
    if vectors is None or not parents.ids:
        return None
    return cluster(vectors, parents.positions[parents.some(_MOST_CLUSTERED)].tolist(), seed)


def _vectors(run: Path) -> np.ndarray | None:
    path = run / "stages" / "embed" / "vectors.npy"
    return open_vectors(path) if path.exists() else None
