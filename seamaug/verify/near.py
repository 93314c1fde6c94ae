"""Near duplicates: prompts whose words are nearly those of an earlier prompt (MinHash-LSH)."""

from collections.abc import Sequence

import numpy as np

from seamaug.records import Message, text_key
from seamaug.seeds import Seeds
from seamaug.verify.seed_bands import SeedBands
from seamaug.verify.signatures import Signatures, signatures_of
from seamaug.verify.text import normalised, words


class NearDuplicates:
    """Signatures of earlier candidates, 1 KB for each, and bands of the seeds' (see there).

    A variant is like its parent on purpose, and so like the seeds that its parent is like: it
    repeats a seed only where its parent does not.
    """

    def __init__(self, threshold: float, shingle: int) -> None:
        self._shingle = shingle
        self._threshold = threshold
        self._seeds: SeedBands | None = None
        self._made = Signatures(threshold)

    def add_seeds(self, seeds: Seeds) -> None:
        """Remember all seeds, once."""
        self._seeds = SeedBands(seeds, self._signatures, self._threshold)

    def add(self, prompts: Sequence[Sequence[Message]]) -> None:
        """Remember candidates."""
        self._made.add(self._signatures(prompts))

    def repeats(self, cases: Sequence[tuple[Sequence[Message], Sequence[Message]]]) -> list[bool]:
        """Whether each (prompt, its parent's prompt) repeats what is remembered or went before.

        One that repeats something is not itself compared with: it will not be there.
        """
        own = self._signatures([prompt for prompt, _ in cases])
        near = [bool(numbers) for numbers in self._made.like(own)]
        if (seeds := self._seeds) is not None:
            for i, numbers in enumerate(seeds.like(own)):
                if numbers and not near[i]:
                    near[i] = not numbers <= seeds.like(self._signatures([cases[i][1]]))[0]
        before = Signatures(self._threshold)
        for i in range(len(cases)):
            if not near[i]:
                near[i] = bool(before.like(own[i : i + 1])[0])
            if not near[i]:
                before.add(own[i : i + 1])
        return near

    def _signatures(self, prompts: Sequence[Sequence[Message]]) -> np.ndarray:
        return signatures_of([shingles(prompt, self._shingle) for prompt in prompts])


def shingles(prompt: Sequence[Message], size: int) -> list[str]:
    """Each `size` words in a row of the last turn; prompts with other earlier turns share none."""
    text = prompt[-1]["content"]
    found = words(text) or [text_key(normalised(text))]
    context = text_key(prompt[:-1]) if prompt[:-1] else ""
    rows = range(max(1, len(found) - size + 1))
    return [" ".join((context, *found[start : start + size])) for start in rows]
