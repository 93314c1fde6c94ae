"""Rows that repeat an earlier one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.seeds.repeats import first_of_each


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5)))
def test_each_row_is_told_the_first_with_its_key(keys: list[int]) -> None:
    found = first_of_each(np.array(keys, np.uint64))
    assert found.tolist() == [keys.index(key) for key in keys]


@pytest.mark.parametrize("key", [0, 2**64 - 1])
def test_the_least_and_the_greatest_key(key: int) -> None:
    found = first_of_each(np.array([key, 7, key, 7, 2**63, key], np.uint64))
    assert found.tolist() == [0, 1, 0, 1, 4, 0]
