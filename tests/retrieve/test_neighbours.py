"""Which of the nearest become a parent's neighbours."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from seamaug.config import RetrieveConfig
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.neighbours import Neighbours, diverse

QUERY = np.array([1, 0, 0, 0], np.float32)


def near(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines to the query, nearest first, and the vectors."""
    vectors = QUERY + 0.6 * np.random.default_rng(seed).normal(size=(count, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors = vectors[np.argsort(-(vectors @ QUERY), kind="stable")]
    return vectors @ QUERY, vectors


def taken(seed: int = 0, found: int = 30, count: int = 8, **settings: Any) -> list[int]:
    cosines, vectors = near(found, seed)
    return diverse(cosines, vectors, [""] * found, count, RetrieveConfig(**settings))


def mean_cosine(vectors: np.ndarray) -> float:
    upper = np.triu_indices(len(vectors), 1)
    return float((vectors @ vectors.T)[upper].mean())


@given(
    seed=st.integers(0, 999),
    found=st.integers(0, 25),
    count=st.integers(1, 12),
    band=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).filter(lambda band: band[0] < band[1]),
    relevance=st.floats(0, 1),
    per_source=st.none() | st.integers(1, 4),
)
def test_band_sources_and_count(
    seed: int,
    found: int,
    count: int,
    band: tuple[float, float],
    relevance: float,
    per_source: int | None,
) -> None:
    cosines, vectors = near(found, seed)
    sources = [f"s{i}" for i in np.random.default_rng(seed).integers(0, 3, found)]
    low, high = band
    config = RetrieveConfig(low=low, high=high, relevance=relevance, per_source=per_source)
    chosen = diverse(cosines, vectors, sources, count, config)
    assert len(set(chosen)) == len(chosen)
    assert all(low <= cosines[i] < high for i in chosen)
    possible = Counter(s for s, c in zip(sources, cosines, strict=True) if low <= c < high)
    most = found if per_source is None else per_source
    used = Counter(sources[i] for i in chosen)
    assert all(n <= most for n in used.values())
    assert len(chosen) == min(count, sum(min(n, most) for n in possible.values()))


def test_relevance_alone_takes_the_nearest() -> None:
    assert taken(relevance=1, high=1) == list(range(8))


def test_the_first_is_the_nearest_in_the_band_whatever_the_relevance() -> None:
    cosines, _ = near(30, 0)
    first = int(np.argmax(cosines < 0.9))
    assert taken(relevance=0.3, high=0.9)[0] == first


def test_a_copy_of_a_taken_one_waits() -> None:
    vectors = np.array([[0.9, 0.4359, 0, 0]] * 2 + [[0.85, 0, 0.5268, 0]], np.float32)
    config = RetrieveConfig(relevance=0.7)
    assert diverse(vectors @ QUERY, vectors, [""] * 3, 3, config) == [0, 2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_less_relevance_is_more_diversity(seed: int) -> None:
    _, vectors = near(30, seed)
    spread = [mean_cosine(vectors[taken(seed, relevance=r, high=1)]) for r in (1, 0)]
    assert spread[0] > spread[1]


def test_each_step_is_the_maximum_of_the_formula() -> None:
    cosines, vectors = near(20, 3)
    chosen = taken(3, 20, relevance=0.6, high=1)
    for step in range(1, len(chosen)):
        rest = [i for i in range(20) if i not in chosen[:step]]
        alike = (vectors @ vectors[chosen[:step]].T).max(axis=1)
        value = 0.6 * cosines - 0.4 * alike
        assert chosen[step] == max(rest, key=lambda i: value[i])


def test_an_empty_band_is_refused() -> None:
    with pytest.raises(ValidationError, match="`low` must be below `high`, not 0"):
        RetrieveConfig(low=0.9, high=0.9)


# --- how far is looked


class Counted(VectorIndex):
    """Remembers how many neighbours it was asked for."""

    reaches: list[int]

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.reaches = [*getattr(self, "reaches", []), k]
        return super().search(queries, k)


def found(
    sources: list[str], seed: int = 0, count: int = 8, **settings: Any
) -> tuple[np.ndarray, np.ndarray, Counted]:
    """Positions and cosines of the neighbours of the first of as many seeds as sources, and the
    index; the others are in the order of their nearness to it."""
    index = Counted(np.concatenate([QUERY[None], near(len(sources) - 1, seed)[1]]))
    column = pa.chunked_array([sources[:7], sources[7:]], pa.string())
    neighbours = Neighbours(index, column, count, RetrieveConfig(**settings))
    return *neighbours.of([0])[0], index


def test_a_band_beyond_the_pool_is_looked_for() -> None:
    cosines, _ = near(399, 0)
    positions, _, index = found([""] * 400, low=-1, high=float(cosines[199]))
    assert len(positions) == 8
    # Its pool is that of any band: the 64 nearest in it.
    assert set(positions) <= set(range(201, 265))
    assert index.reaches == [65, 260]


def test_a_source_beyond_the_pool_is_looked_for() -> None:
    sources = ["a"] * 300 + ["b", "c"] * 50
    positions, _, index = found(sources, per_source=2, low=-1, high=1)
    assert Counter(sources[i] for i in positions) == {"a": 2, "b": 2, "c": 2}
    assert index.reaches == [65, 260, 400]


def test_what_no_source_can_give_is_not_looked_for() -> None:
    positions, _, index = found([""] * 400, per_source=2)
    assert (len(positions), index.reaches) == (2, [65])
    # The last one of a source is the seed itself.
    positions, _, index = found(["own"] + ["a"] * 399, per_source=1)
    assert (len(positions), index.reaches) == (1, [65])
    # All else is below the band.
    cosines, _ = near(399, 0)
    positions, _, index = found([""] * 400, low=float(cosines[4]), high=1)
    assert set(positions) == {1, 2, 3, 4, 5}
    assert index.reaches == [65]


@given(
    seed=st.integers(0, 99),
    band=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).filter(lambda band: band[0] < band[1]),
    per_source=st.none() | st.integers(1, 3),
    pool=st.integers(1, 9),
    skew=st.integers(1, 50),
)
def test_as_many_are_found_as_among_all(
    seed: int, band: tuple[float, float], per_source: int | None, pool: int, skew: int
) -> None:
    sources = [f"s{i // skew}" for i in range(60)]
    settings: dict[str, Any] = {"low": band[0], "high": band[1], "per_source": per_source}
    positions, cosines, index = found(sources, seed, 5, pool=pool, **settings)
    others = index.vectors[1:]
    among_all = diverse(
        others @ index.vectors[0], others, sources[1:], 5, RetrieveConfig(**settings)
    )
    assert len(positions) == len(among_all)
    assert 0 not in positions
    np.testing.assert_allclose(cosines, index.vectors[positions] @ index.vectors[0], atol=1e-6)
