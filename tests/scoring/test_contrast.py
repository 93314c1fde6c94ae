"""Which golden responses of other prompts form a hack set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.config import ContrastConfig
from seamaug.records import Seed, user_message
from seamaug.retrieve.index import VectorIndex
from seamaug.scoring.contrast import WIDENED, Contrast, Goldens, IsWorse
from seamaug.scoring.hack_set import HackSet
from seamaug.verify.worse import Reference

COSINES = [1.0, 0.95, 0.9, 0.89, 0.85, 0.8, 0.79, 0.5, -0.2]
ANSWERS = list("abcdefghi")
IN_BAND, ALL_BELOW = ["d", "e", "f"], ["d", "e", "f", "g", "h", "i"]


class Ranked(VectorIndex):
    """Neighbours as listed: the nearest `limit` positions in order, whatever is searched for."""

    def __init__(self, cosines: Sequence[float], dtype: Any = np.float64) -> None:
        self.cosines = np.array(cosines, dtype)
        self.vectors = np.zeros((len(cosines), 1), np.float32)
        self.reaches: list[int] = []

    def __len__(self) -> int:
        return len(self.cosines)

    def search(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.reaches.append(k)
        found = np.arange(min(k, len(self)))
        rows = np.tile(found, (len(vectors), 1))
        return self.cosines[rows], rows


def seed_of(position: int, golden: str) -> Seed:
    return Seed(f"{position}", user_message("Hi"), golden, [], "", "", "")


def found(
    own: int = 0,
    goldens: list[str] | None = None,
    index: VectorIndex | None = None,
    generic_from: int = 1000,
    samples: int = 30,
    is_worse: IsWorse = lambda response, golden: True,
    **band: Any,
) -> HackSet:
    """Hack set of a prompt whose neighbours are all positions, in order."""
    goldens = goldens or ANSWERS
    estimator = Contrast(
        pa.chunked_array([goldens]),
        index or Ranked(COSINES[: len(goldens)]),
        ContrastConfig(generic_from=generic_from, **band),
        samples,
        is_worse,
    )
    return estimator.hack_sets(range(own, own + 1), [seed_of(own, goldens[own])])[0]


def texts(*arguments: Any, **band: Any) -> tuple[list[str], bool]:
    """Worse responses, and whether the band was widened."""
    result = found(*arguments, **band)
    assert len(result.worse) == len(result.kinds) == len(result.verifiers) == len(result.counts)
    assert (set(result.counts) <= {1}, result.draws) == (True, 0)
    return result.worse, result.note == WIDENED


def test_band_is_half_open() -> None:
    # 0.9 is out, 0.8 is in.
    assert texts(at_least=3) == (IN_BAND, False)


def test_short_band_is_widened_downwards() -> None:
    assert texts(at_least=4) == (ALL_BELOW, True)
    assert texts(at_least=4, samples=5) == (ALL_BELOW[:5], True)


def test_no_more_than_asked_for() -> None:
    assert texts(at_least=1, samples=2) == (["d", "e"], False)
    # A band that fills the set is not short, whatever `at_least` says.
    assert texts(at_least=8, samples=3) == (IN_BAND, False)
    assert texts(at_least=8, samples=4) == (["d", "e", "f", "g"], True)


def test_own_prompt_is_left_out_wherever_it_stands() -> None:
    assert texts(own=4, at_least=1)[0] == ["d", "f"]


def test_own_answer_is_left_out() -> None:
    goldens = ["same", "b", "c", " Same", "e", "f", "g", "h", "i"]
    assert texts(goldens=goldens, at_least=2) == (["e", "f"], False)
    assert texts(goldens=goldens, at_least=3) == (["e", "f", "g", "h", "i"], True)


def test_an_answer_is_taken_once_from_the_nearest() -> None:
    goldens = ["a", "b", "c", "twice", "Twice ", "f", "g", "twice", "i"]
    assert texts(goldens=goldens, at_least=2)[0] == ["twice", "f"]
    assert texts(goldens=goldens, at_least=8)[0] == ["twice", "f", "g", "i"]


def test_answers_above_the_band_do_not_block_those_below() -> None:
    goldens = ["a", "near", "c", "near", "e", "f", "g", "h", "i"]
    assert texts(goldens=goldens, at_least=3)[0] == ["near", "e", "f"]


def test_nobody_else() -> None:
    for goldens in (["a"], ["a"] * 9):
        result = found(goldens=goldens)
        assert result == HackSet(note="no other prompt's response can serve as its hack set")


def test_answers_of_many_prompts_are_a_last_resort() -> None:
    goldens = ["a", "b", "c", "yes", "e", "yes", "g", "h", "yes"]
    assert texts(goldens=goldens, generic_from=3, at_least=1)[0] == ["e"]
    assert texts(goldens=goldens, generic_from=4, at_least=1)[0] == ["yes", "e"]
    assert texts(goldens=goldens, generic_from=3, at_least=3) == (["e", "g", "h"], True)
    # Without them there would be 3.
    assert texts(goldens=goldens, generic_from=3, at_least=4) == (["yes", "e", "g", "h"], True)


def test_what_a_checker_takes_for_right_is_no_hack() -> None:
    asked = []

    def is_worse(response: str, golden: str) -> bool:
        asked.append((response, golden))
        return response not in "dg"

    assert texts(at_least=2, is_worse=is_worse) == (["e", "f"], False)
    assert texts(at_least=3, is_worse=is_worse) == (["e", "f", "h", "i"], True)
    assert {golden for _, golden in asked} == {"a"}
    assert texts(is_worse=lambda *_: False) == ([], False)


def test_an_answer_with_the_same_number_is_right() -> None:
    goldens = [
        "It is 2 + 2. A: 4",
        "Two and two make 4",
        "A: 5",
        "#### 4",
        "A: 4.0",
        "#### 7",
        "Rome.",
    ]
    check = Reference(0.5).is_worse
    index = Ranked([1.0, *[0.85] * 6])
    assert texts(goldens=goldens, index=index, is_worse=check, at_least=2)[0] == [
        "A: 5",
        "#### 7",
        "Rome.",
    ]


def test_a_short_band_looks_farther() -> None:
    # 30 samples look at 110 neighbours; the first 200 are too near.
    index = Ranked([1.0] + [0.95] * 200 + [0.5] * 1800)
    goldens = [f"answer {i}" for i in range(2001)]
    worse, widened = texts(goldens=goldens, index=index)
    assert (worse, widened) == ([f"answer {i}" for i in range(201, 231)], True)
    assert index.reaches == [110, 440]


def test_a_band_that_goes_on_is_looked_through() -> None:
    # Of the 110 nearest, 100 share an answer: 11 are enough by `at_least`, but the band has more.
    index = Ranked([1.0] + [0.85] * 300 + [0.5] * 700)
    goldens = ["own", *["the same"] * 100, *(f"answer {i}" for i in range(900))]
    worse, widened = texts(goldens=goldens, index=index, at_least=5)
    assert (worse, widened) == (["the same", *(f"answer {i}" for i in range(29))], False)


def test_what_many_share_is_taken_only_after_a_farther_look() -> None:
    index = Ranked([1.0] + [0.85] * 1000)
    goldens = ["own", *["yes"] * 200, *(f"answer {i}" for i in range(800))]
    worse, _ = texts(goldens=goldens, index=index, generic_from=100, at_least=30)
    assert worse == [f"answer {i}" for i in range(30)]
    assert index.reaches == [110, 440]


def test_prompts_that_look_farther_do_so_together() -> None:
    index = Ranked([1.0] * 200 + [0.7] * 1801)
    goldens = pa.chunked_array([[f"answer {i}" for i in range(2001)]])
    estimator = Contrast(goldens, index, ContrastConfig(), 30, lambda *_: True)
    seeds = [seed_of(i, f"answer {i}") for i in range(5)]
    sets = estimator.hack_sets(range(5), seeds)
    assert [own.worse[0] for own in sets] == ["answer 200"] * 5
    assert index.reaches == [110, 440]


def test_a_pool_is_an_even_sample_that_serves_all() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, goldens = VectorIndex(vectors), [f"answer {i}" for i in range(500)]
    config = ContrastConfig(pool=100, low=-1)
    estimator = Contrast(pa.chunked_array([goldens]), index, config, 5, lambda *_: True)
    pool = {int(i) for i in np.linspace(0, 499, 100)}
    for own, hack_set in enumerate(estimator.hack_sets(range(40), [seed_of(0, "")] * 40)):
        cosines = vectors @ vectors[own]
        near = [i for i in np.argsort(-cosines) if i in pool and i != own and cosines[i] < 0.9]
        assert hack_set.worse == [f"answer {i}" for i in near[:5]]


def test_texts_are_as_they_were_and_each_goes_to_its_own_prompt() -> None:
    goldens = ["One", " Two ", "three\n", "FOUR"]
    vectors = np.array([[1, 0], [0.85, 0.52678], [0, 1], [0.52678, 0.85]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = VectorIndex(vectors)
    estimator = Contrast(
        pa.chunked_array([goldens]), index, ContrastConfig(at_least=1), 2, lambda *_: "worse"
    )
    seeds = [seed_of(i, goldens[i]) for i in range(1, 4)]
    sets = estimator.hack_sets(range(1, 4), seeds)
    assert [hack_set.worse for hack_set in sets] == [
        ["FOUR", "One"],
        ["FOUR"],
        [" Two ", "three\n"],
    ]
    assert {verifier for hack_set in sets for verifier in hack_set.verifiers} == {"other prompt"}


def test_answers_are_compared_without_case_and_margins() -> None:
    goldens = Goldens(pa.chunked_array([[" Yes\n", "yes", "No", "YES "]]), 3)
    assert [goldens[i] for i in range(4)] == ["yes", "yes", "no", "yes"]
    assert goldens.generic == {"yes"}
    assert Goldens(pa.chunked_array([["yes", "yes"]]), 3).generic == frozenset()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abcde")), min_size=1, max_size=30),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from(["", "b", "bd"]),
)
def test_always(rows: list[tuple[float, str]], samples: int, at_least: int, right: str) -> None:
    rows = sorted(rows, reverse=True)
    cosines, goldens = [cosine for cosine, _ in rows], [answer for _, answer in rows]
    own = len(rows) // 2
    worse, widened = texts(
        own=own,
        goldens=goldens,
        index=Ranked(cosines),
        samples=samples,
        at_least=at_least,
        is_worse=lambda response, _: "" if response in right else "worse",
    )
    assert len(worse) == len(set(worse)) <= samples
    assert goldens[own] not in worse
    assert not set(worse) & set(right)
    possible = {a for i, (c, a) in enumerate(rows) if c < 0.9 and i != own}
    possible -= {goldens[own], *right}
    in_band = {a for i, (c, a) in enumerate(rows) if 0.8 <= c < 0.9 and i != own} & possible
    enough = min(samples, at_least)
    if len(in_band) >= enough:
        assert set(worse) <= in_band
        assert len(worse) == min(samples, len(in_band))
        assert not widened
    else:
        assert len(worse) == min(samples, len(possible))
        assert widened == bool(worse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_cosines(dtype: type) -> None:
    assert texts(goldens=["a", "b"], index=Ranked([1, 0.85], dtype), at_least=1) == (["b"], False)
