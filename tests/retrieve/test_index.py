"""Exact neighbours by cosine."""

import sys

import numpy as np
import pytest

from seamaug.errors import SeamaugError
from seamaug.retrieve.index import VectorIndex


def unit(rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_equals_brute_force() -> None:
    vectors, queries = unit(300, 16), unit(20, 16, seed=1)
    cosines, positions = VectorIndex(vectors).search(queries, 10)
    truth = queries.astype(np.float64) @ vectors.astype(np.float64).T
    assert positions.shape == cosines.shape == (20, 10)
    assert positions.tolist() == np.argsort(-truth, axis=1)[:, :10].tolist()
    wanted = np.take_along_axis(truth, positions, axis=1)
    np.testing.assert_allclose(cosines, wanted, atol=1e-6)


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


def test_missing_faiss_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SeamaugError, match=r"pip install 'seamaug\[cpu\]'"):
        VectorIndex(unit(1, 2))
