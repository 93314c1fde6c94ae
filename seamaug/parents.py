"""From selected seeds to parents: neighbours, golden responses, worse responses, baseline SEAM.

This is where verbs meet (retrieve, generate, verify, score), so it stands beside the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa

from seamaug.config import Config
from seamaug.generate.llm import LLMWriter
from seamaug.models.engines import PolicyEngine
from seamaug.records import Parent, Seed, SetScores, text_key, to_table
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.neighbours import diverse
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import discrepancy
from seamaug.scoring.seeds import SeedScores
from seamaug.seeds import Seeds
from seamaug.verify.response import rouge_l, worse_than_golden
from seamaug.verify.text import loses_numbers, normalised

STAGE = "parents"


@dataclass(frozen=True)
class ParentMaker:
    """Makes the parents of a run, one resumable part at a time."""

    config: Config
    seeds: Seeds
    scores: SeedScores
    index: VectorIndex
    policy: PolicyEngine
    scorer: Scorer
    writer: LLMWriter | None

    def make_all(
        self, run: RunFolder, positions: Sequence[int], *, quiet: bool = False
    ) -> list[Parent]:
        """The parents at these seed positions, in order."""
        batch = self.config.generate.batch_parents
        parents: list[Parent] = []
        with progress(STAGE, len(positions), "seeds", quiet=quiet) as bar:
            for number, start in enumerate(range(0, len(positions), batch)):
                group = [int(p) for p in positions[start : start + batch]]
                resumed = run.has_part(STAGE, number)
                table = run.part(STAGE, number, partial(self._make, group))
                parents += [Parent(**row) for row in table.to_pylist()]
                bar.advance(len(group), resumed=resumed)
        return parents

    def _make(self, positions: list[int]) -> pa.Table:
        parents = self._retrieve(positions)
        parents = self._with_goldens(parents)
        parents = self._with_worse(parents)
        return to_table(self._with_baseline(parents), Parent.SCHEMA)

    def _retrieve(self, positions: list[int]) -> list[Parent]:
        """Neighbours of each seed; the worse responses come later."""
        own = self.config.retrieve
        pool = max(own.pool, self.config.generate.neighbours)
        # A seed is its own nearest neighbour.
        cosines, found = self.index.search(self.index.vectors[positions], pool + 1)
        return [
            self._parent(position, seed, near[near != position], cosine[near != position])
            for position, seed, near, cosine in zip(
                positions, self.seeds.at(positions), found, cosines, strict=True
            )
        ]

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
            neighbours=[others[i].id for i in taken],
            neighbour_texts=[others[i].text for i in taken],
            neighbour_cosines=[float(cosines[i]) for i in taken],
            misjudged=next((text for text, _ in self.scores.worse(position)), ""),
            worse=[],
            worse_sources=[],
            verifiers=[],
            seams=[],
            error="",
        )

    def _with_goldens(self, parents: list[Parent]) -> list[Parent]:
        """Add the LLM's rewrites of the golden response that keep its numbers and its gist."""
        if self.writer is None:
            return parents
        extra: list[list[str]] = [[] for _ in parents]
        for order in range(self.config.generate.golden_rewrites):
            texts = self.writer.write(
                "golden_rewrite", parents, seed=self._seed("golden", order, parents)
            )
            for found, parent, text in zip(extra, parents, texts, strict=True):
                if (
                    text
                    and not loses_numbers(text, parent.golden)
                    and self._same_gist(text, parent)
                ):
                    found.append(text)
        return [
            replace(parent, goldens=list(dict.fromkeys([*parent.goldens, *found])))
            for parent, found in zip(parents, extra, strict=True)
        ]

    def _same_gist(self, text: str, parent: Parent) -> bool:
        return rouge_l(text, parent.golden) >= self.config.verify.reference_overlap

    def _with_worse(self, parents: list[Parent]) -> list[Parent]:
        sources = {
            "given": self._given,
            "policy": self._sampled,
            "llm": self._written,
            "scored": self._scored,
        }
        sets = [_WorseSet(parent, self.config.keep.hack_set_size) for parent in parents]
        for name in self.config.generate.worse:
            source = self.scores.main.name if name == "scored" else name
            for worse, found in zip(sets, sources[name](parents), strict=True):
                worse.add(source, found)
        return [worse.parent_with_it() for worse in sets]

    def _given(self, parents: list[Parent]) -> list[list[tuple[str, str]]]:
        seeds = self.seeds.at([parent.position for parent in parents])
        return [[(text, "given") for text in seed.worse] for seed in seeds]

    def _sampled(self, parents: list[Parent]) -> list[list[tuple[str, str]]]:
        config = self.config.generate
        if config.policy_samples == 0:
            return [[] for _ in parents]
        samples = self.policy.sample(
            [parent.prompt for parent in parents],
            n=config.policy_samples,
            seed=self._seed("policy", 0, parents),
            max_new_tokens=config.policy_max_new_tokens,
        )
        return [
            self._verified(parent, texts) for parent, texts in zip(parents, samples, strict=True)
        ]

    def _written(self, parents: list[Parent]) -> list[list[tuple[str, str]]]:
        found: list[list[tuple[str, str]]] = [[] for _ in parents]
        if self.writer is None:
            return found
        for order in range(self.config.generate.llm_worse):
            texts = self.writer.write(
                "worse_answer", parents, seed=self._seed("worse", order, parents)
            )
            for items, parent, text in zip(found, parents, texts, strict=True):
                items += self._verified(parent, [text])
        return found

    def _verified(self, parent: Parent, texts: Sequence[str]) -> list[tuple[str, str]]:
        limit = self.config.verify.reference_overlap
        named = [(text, worse_than_golden(text, parent.golden, limit)) for text in texts]
        return [(text, verifier) for text, verifier in named if verifier]

    def _scored(self, parents: list[Parent]) -> list[list[tuple[str, str]]]:
        return [
            self.scores.worse(parent.position)[: self.config.keep.hack_set_size]
            for parent in parents
        ]

    def _with_baseline(self, parents: list[Parent]) -> list[Parent]:
        """SEAM of each parent on its hack set, less what is too long for a model."""
        sets = [ResponseSet(p.prompt, golden, p.worse) for p in parents for golden in p.goldens]
        results = iter(self.scorer.score(sets))
        return [self._baseline(p, [next(results) for _ in p.goldens]) for p in parents]

    def _baseline(self, parent: Parent, results: list[SetScores]) -> Parent:
        own = results[0]
        error = own.error or ("" if own.kept else "no worse response that fits the models")
        if error:
            return replace(parent, worse=[], worse_sources=[], verifiers=[], error=error)
        weighting = self.config.score.weighting
        # A rewrite of the golden response that does not fit, or not beside the same worse ones,
        # has no baseline to compare its variants with.
        fits = [i for i, scores in enumerate(results) if scores.kept == own.kept]
        return replace(
            parent,
            goldens=[parent.goldens[i] for i in fits],
            worse=[parent.worse[i] for i in own.kept],
            worse_sources=[parent.worse_sources[i] for i in own.kept],
            verifiers=[parent.verifiers[i] for i in own.kept],
            seams=[discrepancy(results[i], self.scores.scale).under(weighting) for i in fits],
        )

    def _seed(self, purpose: str, order: int, parents: list[Parent]) -> int:
        key = text_key([self.config.seed, purpose, order, parents[0].id])
        return int(key[:8], 16)


@dataclass
class _WorseSet:
    """Worse responses of a parent: each text once, none a golden one, up to a size."""

    parent: Parent
    size: int
    items: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, source: str, found: Sequence[tuple[str, str]]) -> None:
        taken = {normalised(text) for text in (*self.parent.goldens, *(i[0] for i in self.items))}
        for text, verifier in found:
            if len(self.items) < self.size and normalised(text) not in taken:
                taken.add(normalised(text))
                self.items.append((text, source, verifier))

    def parent_with_it(self) -> Parent:
        texts, sources, verifiers = (
            map(list, zip(*self.items, strict=True)) if self.items else ([], [], [])
        )
        return replace(self.parent, worse=texts, worse_sources=sources, verifiers=verifiers)
