"""Exact neighbours by cosine."""

import inspect
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from seamaug.config import RetrieveConfig
from seamaug.errors import SeamaugError
from seamaug.retrieve import exact
from seamaug.retrieve.index import VectorIndex, open_index


def unit(rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [7, 100, 65_536])
@pytest.mark.parametrize("engine", ["auto", "faiss", "torch"])
def test_equals_brute_force(engine: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK", block)
    vectors, queries = unit(300, 16), unit(20, 16, seed=1)
    cosines, positions = VectorIndex(vectors, engine).search(queries, 10)
    truth = queries.astype(np.float64) @ vectors.astype(np.float64).T
    assert positions.shape == cosines.shape == (20, 10)
    assert positions.tolist() == np.argsort(-truth, axis=1)[:, :10].tolist()
    wanted = np.take_along_axis(truth, positions, axis=1)
    np.testing.assert_allclose(cosines, wanted, atol=1e-6)


@pytest.mark.parametrize("engine", ["faiss", "torch"])
def test_float16_vectors_are_searched_in_float32(engine: str) -> None:
    vectors, queries = unit(300, 16).astype(np.float16), unit(20, 16, seed=1)
    cosines, positions = VectorIndex(vectors, engine).search(queries, 10)
    wanted, same = VectorIndex(vectors.astype(np.float32), engine).search(queries, 10)
    assert (positions.tolist(), cosines.tolist()) == (same.tolist(), wanted.tolist())


@pytest.mark.parametrize("engine", ["auto", "faiss"])
def test_where_faiss_has_a_gpu_it_is_called_as_it_declares(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own signature, which the build for a CPU has too; what a GPU answers is not tested."""
    declared = inspect.signature(faiss.knn_gpu)

    def of_gpu(*given: Any, **named: Any) -> Any:
        bound = declared.bind(*given, **named).arguments
        assert bound.pop("res") is resources
        assert all(bound[name].dtype == np.float32 for name in ("xq", "xb"))
        asked.append(bound["k"])
        return faiss.knn(**bound)

    asked: list[int] = []
    resources = object()
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: resources, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", of_gpu)
    monkeypatch.setattr(exact, "_GPU_K", 10)
    vectors, queries = unit(300, 16).astype(np.float16), unit(20, 16, seed=1)
    index, plain = VectorIndex(vectors, engine), VectorIndex(vectors, "torch")
    for k in (10, 11):  # more than a GPU finds is searched without it
        found, wanted = index.search(queries, k), plain.search(queries, k)
        assert found[1].tolist() == wanted[1].tolist()
    assert asked == [10]


def test_nearest_of_a_member_is_itself() -> None:
    vectors = unit(50, 8)
    cosines, positions = VectorIndex(vectors).search(vectors, 2)
    assert positions[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-6)
    assert (cosines[:, 1] < cosines[:, 0]).all()


def test_no_more_than_there_are() -> None:
    index = VectorIndex(unit(3, 4))
    assert len(index) == 3
    cosines, positions = index.search(unit(2, 4, seed=1), 10)
    assert cosines.shape == positions.shape == (2, 3)
    assert [sorted(row) for row in positions.tolist()] == [[0, 1, 2]] * 2


def test_opposite_vectors_are_farthest() -> None:
    vectors = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    cosines, positions = VectorIndex(vectors).search(vectors[:1], 3)
    assert positions.tolist() == [[0, 2, 1]]
    assert cosines.tolist() == [[1.0, 0.0, -1.0]]


@pytest.mark.parametrize("settings", [{"engine": "faiss"}, {"index": "ivf"}])
def test_missing_faiss_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SeamaugError, match=r"pip install 'seamaug\[cpu\]'"):
        open_index(unit(3, 4), RetrieveConfig(**settings), tmp_path)


def test_without_faiss_torch_searches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = unit(30, 4)
    wanted = VectorIndex(vectors, "faiss").search(vectors, 5)[1]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level("INFO", "seamaug"):
        index = open_index(vectors, RetrieveConfig(exact_below=1), tmp_path)
    assert index.search(vectors, 5)[1].tolist() == wanted.tolist()
    assert "exact search of 30 vectors (clusters would need faiss" in caplog.text


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({}, "fewer than 200,000"), ({"exact_below": 1, "index": "exact"}, "`retrieve.index: exact`")],
)
def test_why_search_is_exact_is_said(
    settings: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "seamaug"):
        open_index(unit(30, 4), RetrieveConfig(**settings), tmp_path)
    assert f"index: exact search of 30 vectors ({reason})" in caplog.text
    assert not list(tmp_path.iterdir())
