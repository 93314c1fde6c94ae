"""Which golden responses of other prompts form a hack set."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.config import HackSetConfig
from seamaug.scoring.contrast import Goldens, HackSet, contrast_set

COSINES = [1.0, 0.95, 0.9, 0.89, 0.85, 0.8, 0.79, 0.5, -0.2]
ANSWERS = list("abcdefghi")


def found(
    own: int = 0,
    goldens: list[str] | None = None,
    cosines: list[float] | None = None,
    generic_from: int = 1000,
    **band: Any,
) -> HackSet:
    """Hack set of a prompt whose neighbours are all positions, in order."""
    cosines = cosines or COSINES
    return contrast_set(
        own,
        range(len(cosines)),
        np.array(cosines),
        Goldens(goldens or ANSWERS, generic_from),
        HackSetConfig(**band),
    )


def test_band_is_half_open() -> None:
    # 0.9 is out, 0.8 is in.
    assert found(at_least=3) == HackSet([3, 4, 5], widened=False)


def test_short_band_is_widened_downwards() -> None:
    assert found(at_least=4) == HackSet([3, 4, 5, 6, 7, 8], widened=True)
    assert found(at_least=4, k=5) == HackSet([3, 4, 5, 6, 7], widened=True)


def test_no_more_than_k() -> None:
    assert found(at_least=1, k=2) == HackSet([3, 4], widened=False)
    # A band that fills k is not short, whatever `at_least` says.
    assert found(at_least=8, k=3) == HackSet([3, 4, 5], widened=False)
    assert found(at_least=8, k=4) == HackSet([3, 4, 5, 6], widened=True)


def test_own_prompt_is_left_out_wherever_it_stands() -> None:
    assert found(own=4, at_least=1).positions == [3, 5]


def test_own_answer_is_left_out() -> None:
    goldens = ["same", "b", "c", "same", "e", "f", "g", "h", "i"]
    assert found(goldens=goldens, at_least=2) == HackSet([4, 5], widened=False)
    assert found(goldens=goldens, at_least=3) == HackSet([4, 5, 6, 7, 8], widened=True)


def test_an_answer_is_taken_once_from_the_nearest() -> None:
    goldens = ["a", "b", "c", "twice", "twice", "f", "g", "twice", "i"]
    assert found(goldens=goldens, at_least=2).positions == [3, 5]
    assert found(goldens=goldens, at_least=8).positions == [3, 5, 6, 8]


def test_answers_above_the_band_do_not_block_those_below() -> None:
    goldens = ["a", "near", "c", "near", "e", "f", "g", "h", "i"]
    assert found(goldens=goldens, at_least=3).positions == [3, 4, 5]


def test_nobody_else() -> None:
    assert found(cosines=[1.0], goldens=["a"]) == HackSet([], widened=True)
    assert found(goldens=["a"] * 9) == HackSet([], widened=True)


def test_answers_of_many_prompts_are_a_last_resort() -> None:
    goldens = ["a", "b", "c", "yes", "e", "yes", "g", "h", "yes"]
    assert found(goldens=goldens, generic_from=3, at_least=1).positions == [4]
    assert found(goldens=goldens, generic_from=4, at_least=1).positions == [3, 4]
    assert found(goldens=goldens, generic_from=3, at_least=3) == HackSet([4, 6, 7], widened=True)
    # Without them there would be 3.
    assert found(goldens=goldens, generic_from=3, at_least=4) == HackSet([3, 4, 6, 7], widened=True)


def test_answers_are_compared_without_case_and_margins() -> None:
    goldens = Goldens([" Yes\n", "yes", "No", "YES "], 3)
    assert goldens.texts == ["yes", "yes", "no", "yes"]
    assert goldens.generic == {"yes"}
    assert Goldens(["yes", "yes"], 3).generic == frozenset()


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abcde")), min_size=1, max_size=30),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_always(rows: list[tuple[float, str]], k: int, at_least: int) -> None:
    rows = sorted(rows, reverse=True)
    cosines, goldens = [cosine for cosine, _ in rows], [answer for _, answer in rows]
    own = len(rows) // 2
    result = found(own=own, goldens=goldens, cosines=cosines, k=k, at_least=at_least)
    answers = [goldens[p] for p in result.positions]
    assert len(answers) == len(set(answers)) <= k
    assert goldens[own] not in answers
    assert own not in result.positions
    assert all(cosines[p] < 0.9 for p in result.positions)
    in_band = sum(cosines[p] >= 0.8 for p in result.positions)
    assert result.widened == (in_band < min(k, at_least))
    if not result.widened:
        assert in_band == len(answers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_cosines(dtype: type) -> None:
    result = contrast_set(
        0, [0, 1], np.array([1, 0.85], dtype), Goldens(["a", "b"], 9), HackSetConfig(at_least=1)
    )
    assert result == HackSet([1], widened=False)
