"""The contrast estimator: golden responses of the nearest different prompts as the hack set."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from seamaug.config import ContrastConfig
from seamaug.records import Evidence, Seed
from seamaug.retrieve.exact import Found
from seamaug.retrieve.farther import search_farther
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.vectors import evenly
from seamaug.scoring.hack_set import HackSet
from seamaug.seeds.store import taken

WIDENED = "cosine band widened"
_AT_ONCE = 10_000

IsWorse = Callable[[str, str], bool]
"""(response, golden) to whether a checker shows the response to be worse."""


class Goldens:
    """Golden responses by position, as the estimator compares them; their texts stay in Arrow."""

    def __init__(self, texts: pa.ChunkedArray, generic_from: int) -> None:
        self._texts = texts
        # Hashes first: a million texts as Python objects would be a quarter of a gigabyte.
        hashes = np.fromiter(map(hash, self._all()), np.int64, len(texts))
        hashes.sort()
        last = hashes[generic_from - 1 :]  # of as many in a row, where they are one
        often = frozenset(last[last == hashes[: len(last)]].tolist())
        exact = Counter(text for text in self._all() if hash(text) in often) if often else Counter()
        self.generic = frozenset(text for text, n in exact.items() if n >= generic_from)
        """Responses that many prompts share: they may be right for this one too."""

    def __getitem__(self, position: int) -> str:
        return _compared(self._texts[position].as_py())

    def _all(self) -> Iterator[str]:
        for chunk in self._texts.chunks:
            for start in range(0, len(chunk), _AT_ONCE):
                yield from map(_compared, chunk.slice(start, _AT_ONCE).to_pylist())


def _compared(text: str) -> str:
    return text.strip().lower()


class Contrast:
    """Hack sets from the index of prompts.

    Prompts at or above `high` may share the answer and are left out, as are those whose golden
    response is the prompt's own, was already taken, or passes for right (`is_worse` finds nothing
    against it). Generic responses are taken only where without them there are fewer than
    `at_least`. The paper's band is [0.8, 0.9) with 30 responses; where it holds too few, the set is
    filled from the nearest prompts below it. All this is among `pool` prompts, an even sample where
    there are more.
    """

    name = "contrast"

    def __init__(
        self,
        goldens: pa.ChunkedArray,
        index: VectorIndex,
        config: ContrastConfig,
        samples: int,
        is_worse: IsWorse,
    ) -> None:
        self._column = pa.table({"golden": goldens})
        self._goldens = Goldens(goldens, config.generic_from)
        self._vectors = index.vectors
        self._pool = evenly(len(index), config.pool)
        self._index = index if len(self._pool) == len(index) else index.sampled(self._pool)
        self._config = config
        self._samples = samples
        self._enough = min(config.at_least, samples)
        self._is_worse = is_worse

    def hack_sets(self, positions: range, seeds: Sequence[Seed]) -> list[HackSet]:
        """One set per seed, nearest prompt first."""
        chosen = self._choose(positions)
        # Seeds share most of their hack sets: fetch each text once.
        places = sorted({place for places, _ in chosen for place in places})
        texts = taken(self._column, places)["golden"].to_pylist()
        text_of = dict(zip(places, texts, strict=True))
        return [self._set([text_of[p] for p in places], widened) for places, widened in chosen]

    @staticmethod
    def _set(texts: list[str], widened: bool) -> HackSet:
        found = HackSet(note=WIDENED if widened else "")
        for text in texts:
            found.add(text, "other prompt's golden response", Evidence("other prompt"))
        if not texts:
            found.note = "no other prompt's response can serve as its hack set"
        return found

    def _choose(self, positions: range) -> list[tuple[list[int], bool]]:
        """Positions for the hack set of each seed, and whether the band was widened for it."""
        chosen: dict[int, tuple[list[int], bool]] = {}
        first = 3 * self._samples + 20  # room for prompts that are too near or share an answer

        def search(some: list[int], reach: int) -> Found:
            cosines, found = self._index.search(self._vectors[some], reach)
            return cosines, self._pool[found]

        def is_enough(own: int, near: np.ndarray, cosines: np.ndarray, reach: int) -> bool:
            # What many prompts share waits for a second, farther look: few prompts need one.
            if reach == first < len(self._index):
                places, widened = self._nearest(own, near, cosines, self._goldens.generic)
            else:
                places, widened = self._among(own, near, cosines)
            chosen[own] = places, widened
            band_ends = not widened and cosines[-1] < self._config.low
            return bool(band_ends) or len(places) >= self._samples

        search_farther(search, positions, first, len(self._index), is_enough)
        return [chosen[position] for position in positions]

    def _among(
        self, own: int, neighbours: Sequence[int] | np.ndarray, cosines: np.ndarray
    ) -> tuple[list[int], bool]:
        """Positions from these neighbours, nearest first, and whether the band was widened."""
        found = self._nearest(own, neighbours, cosines, self._goldens.generic)
        if len(found[0]) >= self._enough or not self._goldens.generic:
            return found
        return self._nearest(own, neighbours, cosines, frozenset())

    def _nearest(
        self,
        own: int,
        neighbours: Sequence[int] | np.ndarray,
        cosines: np.ndarray,
        excluded: frozenset[str],
    ) -> tuple[list[int], bool]:
        below: list[int] = []
        in_band = 0
        for position, cosine in self._different(own, neighbours, cosines, excluded):
            if len(below) == self._samples:
                break
            below.append(position)
            in_band += cosine >= self._config.low
        if in_band >= self._enough:
            return below[:in_band], False
        return below, True

    def _different(
        self,
        own: int,
        neighbours: Sequence[int] | np.ndarray,
        cosines: np.ndarray,
        excluded: frozenset[str],
    ) -> Iterator[tuple[int, float]]:
        golden = self._goldens[own]
        seen = {golden, *excluded}
        for position, cosine in zip(neighbours, cosines, strict=True):
            if position == own or cosine >= self._config.high:
                continue
            text = self._goldens[int(position)]
            if text in seen:
                continue
            seen.add(text)
            if self._is_worse(text, golden):
                yield int(position), float(cosine)
