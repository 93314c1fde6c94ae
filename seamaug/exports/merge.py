"""Original and augmented examples in a stated ratio."""

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import compress
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from seamaug.errors import ConfigError
from seamaug.exports.example import Example


class Ratio(NamedTuple):
    """Original examples to augmented ones."""

    original: int
    augmented: int


def parse_ratio(text: str) -> Ratio:
    """``4:1`` is four original examples for each augmented one; raises ConfigError."""
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text.strip(), re.ASCII)
    if match is None or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
        raise ConfigError(
            f"ratio {text!r} is not understood: write original:augmented in whole numbers, such as "
            "4:1 for four original examples to each augmented one"
        )
    return Ratio(int(match[1]), int(match[2]))


def counts_at(ratio: Ratio | None, originals: int, augmented: int) -> tuple[int, int]:
    """How many of each to take: all of the one that is short, and its share of the other.

    Without a ratio, all of both.
    """
    if ratio is None:
        return originals, augmented
    if originals * ratio.augmented <= augmented * ratio.original:
        return originals, max(1, round(originals * ratio.augmented / ratio.original))
    return max(1, round(augmented * ratio.original / ratio.augmented)), augmented


def sample(examples: Iterable[Example], count: int, take: int) -> Iterator[Example]:
    """`take` of the `count` examples, evenly at random and always the same, in their order."""
    if take == count:
        yield from examples
        return
    taken = np.zeros(count, dtype=bool)
    taken[np.random.default_rng(0).choice(count, take, replace=False)] = True
    yield from compress(examples, taken)


def mix(*parts: tuple[Iterable[Example], int]) -> Iterator[Example]:
    """The examples of all parts, each given with its length and spread evenly over the whole.

    A trainer that does not shuffle, or reads the first rows only, sees the same ratio.
    """
    placed = (_placed(examples, length) for examples, length in parts)
    return (example for _, example in heapq.merge(*placed, key=itemgetter(0)))


def _placed(examples: Iterable[Example], length: int) -> Iterator[tuple[float, Example]]:
    return (((number + 0.5) / length, example) for number, example in enumerate(examples))
