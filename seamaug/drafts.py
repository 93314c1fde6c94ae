"""What a parent begins with: its neighbours, and what scoring found. Models add the rest later."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seamaug.config import Config
from seamaug.records import Evidence, Parent, Seed
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.neighbours import diverse
from seamaug.scoring.seeds import SeedScores
from seamaug.seeds import Seeds


class Draft(NamedTuple):
    """A parent without responses of its own, and the hack set that scoring had for it."""

    parent: Parent
    scored: list[tuple[str, Evidence]]
    """Worse responses, the largest contribution to SEAM first."""


@dataclass(frozen=True)
class Drafts:
    """From seed positions to drafts, in the process that has index and scores."""

    config: Config
    seeds: Seeds
    scores: SeedScores
    index: VectorIndex

    def of(self, positions: Sequence[int]) -> list[Draft]:
        """One for each position."""
        return list(self._drafts(positions))

    def _drafts(self, positions: Sequence[int]) -> Iterator[Draft]:
        own, size = self.config.retrieve, self.config.keep.hack_set_size
        pool = max(own.pool, self.config.generate.neighbours)
        # A seed is its own nearest neighbour.
        cosines, found = self.index.search(self.index.vectors[positions], pool + 1)
        seeds = self.seeds.at(positions)
        for position, seed, near, cosine in zip(positions, seeds, found, cosines, strict=True):
            others = near != position
            parent = self._parent(position, seed, near[others], cosine[others])
            yield Draft(parent, self.scores.worse(position)[:size])

    def _parent(self, position: int, seed: Seed, near: np.ndarray, cosines: np.ndarray) -> Parent:
        others = list(self.seeds.at(near))
        taken = diverse(
            cosines,
            self.index.vectors[near],
            [other.source for other in others],
            self.config.generate.neighbours,
            self.config.retrieve,
        )
        return Parent(
            id=seed.id,
            position=position,
            prompt=seed.prompt,
            golden=seed.golden,
            goldens=[seed.golden],
            golden_scores=[None],
            neighbours=[others[i].id for i in taken],
            neighbour_texts=[others[i].text for i in taken],
            neighbour_cosines=[float(cosines[i]) for i in taken],
            misjudged=self.scores.misjudged(position),
            worse=[],
            worse_sources=[],
            verifiers=[],
            verifier_scores=[],
            seams=[],
            error="",
        )
