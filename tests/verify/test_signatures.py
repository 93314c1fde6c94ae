"""The index of signatures finds what a comparison with all of them finds."""

import random

import numpy as np
import pytest

from seamaug.verify.signatures import PERMUTATIONS, Signatures, bands_for, signatures_of


def texts(count: int) -> list[list[str]]:
    """Sets of tokens, of which every third is like the one before it."""
    rng = random.Random(0)
    found: list[list[str]] = []
    for number in range(count):
        tokens = [f"{number} {i}" for i in range(40)]
        if number % 3 == 2:
            tokens[: 40 - rng.randrange(5)] = found[-1][: 40 - rng.randrange(5)]
        found.append(tokens)
    return found


@pytest.mark.parametrize("threshold", [0.9, 0.95, 1.0])
def test_it_finds_what_comparing_with_all_finds_however_it_grew(threshold: float) -> None:
    own = signatures_of(texts(3000))
    index = Signatures(threshold)
    for start in range(0, len(own), 700):  # past the first slots twice
        index.add(own[start : start + 700])
    assert len(index) == len(own)
    asked = own[::10]
    # At these thresholds two texts that are alike have a band in common, by the pigeonhole.
    for signature, found in zip(asked, index.like(asked), strict=True):
        same = (own == signature).sum(axis=1) / PERMUTATIONS
        assert found == set(np.flatnonzero(same >= threshold).tolist())


def test_an_empty_index_and_nothing_to_ask() -> None:
    index = Signatures(0.9)
    assert index.like(signatures_of([["a"]])) == [set()]
    index.add(signatures_of([]))
    assert (len(index), index.like(signatures_of([]))) == (0, [])


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_enough_bands_for_the_threshold(threshold: float) -> None:
    bands = bands_for(threshold)
    assert PERMUTATIONS % bands == 0
    assert 1 - (1 - threshold ** (PERMUTATIONS // bands)) ** bands >= 0.99
