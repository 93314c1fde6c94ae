"""Which seeds become parents."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug import selection
from seamaug.config import SelectConfig
from seamaug.selection import select_parents, worst_first, worst_share

SEAM = np.array([0.5, np.nan, 2.0, 0.0, 0.5, 1.0])


def test_worst_first() -> None:
    assert worst_first(SEAM).tolist() == [2, 5, 0, 4, 3]
    assert worst_first(np.array([np.nan, np.nan])).tolist() == []
    assert worst_first(np.array([])).tolist() == []


_NUMBERS = st.one_of(
    st.just(np.nan), st.sampled_from([-0.0, 0.0, 0.25, 1.0, 3.0]), st.floats(allow_nan=False)
)


@given(st.lists(_NUMBERS, max_size=20), st.none() | st.integers(0, 25))
def test_worst_first_is_a_stable_sort_cut_short(values: list[float], count: int | None) -> None:
    seam = np.array(values, dtype=float)
    scored = [i for i in range(len(seam)) if not np.isnan(seam[i])]
    assert worst_first(seam, count).tolist() == sorted(scored, key=lambda i: (-seam[i], i))[:count]


def test_worst_of_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_BLOCK", 7)
    seam = np.random.default_rng(0).choice([np.nan, 0.0, 0.5, 0.5000001, 2.0], 100)
    scored = [i for i in range(100) if not np.isnan(seam[i])]
    assert len(set(seam[scored])) == 4
    for count in range(len(scored) + 1):
        order = sorted(scored, key=lambda i: (-seam[i], i))
        assert worst_first(seam, count).tolist() == order[:count]


def test_selection_holds_no_copy_of_all_scores() -> None:
    seam = np.random.default_rng(0).exponential(size=2_000_000)  # 16 MB
    tracemalloc.start()
    try:
        worst_share(seam, 0.001)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 6e6


@pytest.mark.parametrize(
    ("share", "positions"),
    [(0.2, [2]), (0.21, [2, 5]), (0.4, [2, 5]), (1.0, [2, 5, 0, 4, 3])],
)
def test_worst_share_is_of_the_scored_and_rounded_up(share: float, positions: list[int]) -> None:
    assert worst_share(SEAM, share).tolist() == positions


def test_parents_have_a_discrepancy() -> None:
    assert select_parents(SEAM, SelectConfig(share=0.99)).tolist() == [2, 5, 0, 4]
    assert select_parents(np.zeros(4), SelectConfig(share=0.99)).tolist() == []
    assert select_parents(np.array([np.nan]), SelectConfig()).tolist() == []


def test_top_comes_before_share() -> None:
    assert select_parents(SEAM, SelectConfig(share=0.2, top=3)).tolist() == [2, 5, 0]
    assert select_parents(SEAM, SelectConfig(top=100)).tolist() == [2, 5, 0, 4]
    assert select_parents(SEAM, SelectConfig(share=0.4)).tolist() == [2, 5]
