"""Packing rows into batches, and padding them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamaug.models.batching import packed, right_padded

LENGTHS = st.lists(st.integers(0, 60), max_size=40)


@given(LENGTHS, st.integers(1, 300))
def test_packed(lengths: list[int], budget: int) -> None:
    batches = list(packed(lengths, budget))
    flat = [position for batch in batches for position in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[p] for p in flat] == sorted(lengths, reverse=True)
    for batch in batches:
        assert batch
        assert len(batch) == 1 or len(batch) * max(lengths[p] for p in batch) <= budget
    for left, right in pairwise(batches):
        longest = max(lengths[p] for p in [*left, right[0]])
        assert (len(left) + 1) * max(longest, 1) > budget, "the next row would have fitted"


def test_packed_examples() -> None:
    assert list(packed([3, 5, 4, 1], 10)) == [[1, 2], [0, 3]]
    assert list(packed([3, 5, 4, 1], 1)) == [[1], [2], [0], [3]]
    assert list(packed([2, 2, 2], 6)) == [[0, 1, 2]]
    assert list(packed([], 10)) == []


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=6))
def test_right_padded(rows: list[list[int]]) -> None:
    ids, mask = right_padded(rows, 77)
    width = max(len(row) for row in rows)
    assert ids.shape == mask.shape == (len(rows), width)
    assert ids.dtype == torch.long
    for row, got, shown in zip(rows, ids.tolist(), mask.tolist(), strict=True):
        assert got == row + [77] * (width - len(row))
        assert shown == [1] * len(row) + [0] * (width - len(row))


def test_right_padded_needs_rows() -> None:
    with pytest.raises(ValueError, match="empty"):
        right_padded([], 0)
