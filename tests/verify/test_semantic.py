"""Semantic duplicates: of other families only, whatever the order of the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.verify import semantic
from seamaug.verify.semantic import SemanticDuplicates


def unit(*angles: float) -> np.ndarray:
    """Unit vectors in the plane, by angle in degrees."""
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


COS_10 = float(np.cos(np.radians(10)))


def test_another_seed_is_repeated_and_the_parent_is_not() -> None:
    index = SemanticDuplicates(unit(0, 90), COS_10)
    assert index.repeats(unit(5, 5, 85, 45), [0, 1, 0, 0]) == [False, True, True, False]


def test_earlier_variants_of_other_parents_count() -> None:
    index = SemanticDuplicates(unit(0, 90), COS_10)
    index.add(unit(40), [0])
    assert index.repeats(unit(42, 42), [0, 1]) == [False, True]


def test_within_a_part_the_first_one_stays_and_a_repetition_does_not_count() -> None:
    index = SemanticDuplicates(unit(0), COS_10)
    # The second repeats the first; the third is near the second alone, which will not be there.
    assert index.repeats(unit(40, 48, 56), [1, 2, 3]) == [False, True, False]


@given(
    st.lists(st.tuples(st.integers(0, 359), st.integers(0, 3)), max_size=40),
    st.lists(st.tuples(st.integers(0, 359), st.integers(0, 3)), min_size=1, max_size=10),
    st.integers(1, 7),
)
def test_blocks_are_no_difference(
    made: list[tuple[int, int]], asked: list[tuple[int, int]], block: int
) -> None:
    def found(size: int) -> list[bool]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(semantic, "_BLOCK", size)
            index = SemanticDuplicates(unit(0, 90, 180, 270), COS_10)
            for angle, family in made:  # one by one: the store grows as it may
                index.add(unit(angle), [family])
            return index.repeats(unit(*(a for a, _ in asked)), [family for _, family in asked])

    assert found(block) == found(1 << 16)
    seeds = [(0, 0), (90, 1), (180, 2), (270, 3)]
    angle, family = asked[0]
    close = [
        abs((angle - other + 180) % 360 - 180) < 9.5 for other, own in [*seeds, *made]
        if own != family
    ]  # fmt: skip
    if any(close):
        assert found(block)[0]
