"""Near duplicates: prompts whose words are nearly those of an earlier prompt (MinHash-LSH).

Rensa's MinHash: a hundred times as fast here as a plain loop over datasketch (benchmarks/).
"""

from collections.abc import Iterable, Sequence

from rensa import RMinHash, RMinHashDeduplicator

from seamaug.records import Message, text_key
from seamaug.seeds import Seeds
from seamaug.verify.seed_sketches import SeedSketches
from seamaug.verify.text import normalised, words

_PERMUTATIONS = 128  # an estimate at 0.9 then has a standard error of 0.027
_RECALL = 0.99  # of pairs at the threshold, that one band at least is the same
_SEED = 1  # of the hash functions: no setting, for nothing is drawn


class NearDuplicates:
    """Sketches of earlier candidates, about 2 KB for each, and bands of the seeds' (see there).

    A variant is like its parent on purpose, and so like the seeds that its parent is like: it
    repeats a seed only where its parent does not.
    """

    def __init__(self, threshold: float, shingle: int) -> None:
        self._shingle = shingle
        self._threshold = threshold
        self._seeds: SeedSketches | None = None
        self._made = self._index()
        self._count = 0

    def _index(self) -> RMinHashDeduplicator:
        bands = bands_for(self._threshold)
        return RMinHashDeduplicator(self._threshold, _PERMUTATIONS, True, bands, _SEED)

    def add_seeds(self, seeds: Seeds) -> None:
        """Remember all seeds, once."""
        bands = bands_for(self._threshold)
        self._seeds = SeedSketches(seeds.prompts(), seeds.prompts_at, self._sketch, bands)

    def add(self, prompts: Iterable[Sequence[Message]]) -> None:
        """Remember candidates."""
        for prompt in prompts:
            self._made.add(str(self._count), self._sketch(prompt))
            self._count += 1

    def repeats(self, cases: Sequence[tuple[Sequence[Message], Sequence[Message]]]) -> list[bool]:
        """Whether each (prompt, its parent's prompt) repeats what is remembered or went before.

        One that repeats something is not itself compared with: it will not be there.
        """
        before = self._index()
        found = []
        for number, (prompt, parent) in enumerate(cases):
            sketch = self._sketch(prompt)
            like = self._like(sketch)
            if like:
                like -= self._like(self._sketch(parent))
            near = bool(like) or self._made.is_duplicate("", sketch)
            # Added only if nothing before it in this batch is like it.
            found.append(near or not before.add(str(number), sketch))
        return found

    def _like(self, sketch: RMinHash) -> set[int]:
        return self._seeds.like(sketch, self._threshold) if self._seeds else set()

    def _sketch(self, prompt: Sequence[Message]) -> RMinHash:
        sketch = RMinHash(_PERMUTATIONS, _SEED)
        sketch.update(shingles(prompt, self._shingle))
        return sketch


def shingles(prompt: Sequence[Message], size: int) -> list[str]:
    """Each `size` words in a row of the last turn; prompts with other earlier turns share none."""
    text = prompt[-1]["content"]
    found = words(text) or [text_key(normalised(text))]
    context = text_key(prompt[:-1]) if prompt[:-1] else ""
    rows = range(max(1, len(found) - size + 1))
    return [" ".join((context, *found[start : start + size])) for start in rows]


def bands_for(threshold: float) -> int:
    """The fewest LSH bands (of equal size) that find nearly all pairs at the threshold."""
    bands = 1
    while bands < _PERMUTATIONS and _recall(threshold, bands) < _RECALL:
        bands *= 2
    return bands


def _recall(threshold: float, bands: int) -> float:
    same = threshold ** (_PERMUTATIONS // bands)  # that one band is
    return float(1 - (1 - same) ** bands)
