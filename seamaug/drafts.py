"""What a parent begins with: its neighbours, and what scoring found. Models add the rest later."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from seamaug.config import Config
from seamaug.records import Evidence, Parent, Seed
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.neighbours import Neighbours
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

    @cached_property
    def _neighbours(self) -> Neighbours:
        count, sources = self.config.generate.neighbours, self.seeds.table["source"]
        return Neighbours(self.index, sources, count, self.config.retrieve)

    def of(self, positions: Sequence[int]) -> list[Draft]:
        """One for each position."""
        size = self.config.keep.hack_set_size
        found = zip(
            positions, self.seeds.at(positions), self._neighbours.of(positions), strict=True
        )
        return [
            Draft(self._parent(position, seed, *near), self.scores.worse(position)[:size])
            for position, seed, near in found
        ]

    def _parent(self, position: int, seed: Seed, near: np.ndarray, cosines: np.ndarray) -> Parent:
        others = list(self.seeds.at(near))
        return Parent(
            id=seed.id,
            position=position,
            prompt=seed.prompt,
            golden=seed.golden,
            goldens=[seed.golden],
            golden_scores=[None],
            neighbours=[other.id for other in others],
            neighbour_texts=[other.text for other in others],
            neighbour_cosines=cosines.tolist(),
            misjudged=self.scores.misjudged(position),
            worse=[],
            worse_sources=[],
            verifiers=[],
            verifier_scores=[],
            seams=[],
            error="",
        )
