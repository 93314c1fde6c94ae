"""From selected seeds to parents: neighbours, golden responses, worse responses, baseline SEAM.

This is where verbs meet (retrieve, generate, verify, score), so it stands beside the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa

from seamaug.config import Config
from seamaug.generate.llm.operators import Kind
from seamaug.generate.llm.writer import LLMWriter, Task
from seamaug.models.engines import PolicyEngine
from seamaug.records import Parent, SetScores, text_key, to_table
from seamaug.retrieve.index import VectorIndex
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
        wanted = self.config.generate.neighbours + 1  # a seed is its own nearest neighbour
        _, found = self.index.search(self.index.vectors[positions], wanted)
        parents = []
        for position, seed, near in zip(positions, self.seeds.at(positions), found, strict=True):
            others = [p for p in near if p != position][: wanted - 1]
            neighbours = list(self.seeds.at(np.asarray(others)))
            parents.append(
                Parent(
                    id=seed.id,
                    position=position,
                    prompt=seed.prompt,
                    golden=seed.golden,
                    goldens=[seed.golden],
                    neighbours=[other.id for other in neighbours],
                    neighbour_texts=[other.text for other in neighbours],
                    misjudged=self.scores.misjudged(position),
                    worse=[],
                    worse_sources=[],
                    verifiers=[],
                    seams=[],
                    error="",
                )
            )
        return parents

    def _with_goldens(self, parents: list[Parent]) -> list[Parent]:
        """Add the LLM's rewrites of the golden response that keep its numbers and its gist."""
        extra = self._written("golden", self.config.generate.golden_rewrites, parents)
        kept = [
            [text for text in texts if self._is_golden(text, parent)]
            for parent, texts in zip(parents, extra, strict=True)
        ]
        return [
            replace(parent, goldens=list(dict.fromkeys([*parent.goldens, *texts])))
            for parent, texts in zip(parents, kept, strict=True)
        ]

    def _is_golden(self, text: str, parent: Parent) -> bool:
        return not loses_numbers(text, parent.golden) and self._same_gist(text, parent)

    def _same_gist(self, text: str, parent: Parent) -> bool:
        return rouge_l(text, parent.golden) >= self.config.verify.reference_overlap

    def _with_worse(self, parents: list[Parent]) -> list[Parent]:
        sources = {
            "given": self._given,
            "policy": self._sampled,
            "llm": self._written_worse,
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

    def _written_worse(self, parents: list[Parent]) -> list[list[tuple[str, str]]]:
        texts = self._written("worse", self.config.generate.llm_worse, parents)
        return [self._verified(parent, own) for parent, own in zip(parents, texts, strict=True)]

    def _written(self, kind: Kind, count: int, parents: list[Parent]) -> list[list[str]]:
        """`count` responses to each parent, by the LLM's operators of a kind in turn.

        Fewer where a reply is of no use. Each parent begins the turn elsewhere.
        """
        found: list[list[str]] = [[] for _ in parents]
        if self.writer is None:
            return found
        operators = [op for op in self.writer.operators.values() if op.kind == kind]
        aspects = self.config.score.llm.aspects if kind == "worse" else ()
        places, tasks = [], []
        for place, parent in enumerate(parents):
            start = int(text_key([self.config.seed, kind, parent.id])[:8], 16)
            for number in range(start, start + count):
                operator = operators[number % len(operators)]
                aspect = aspects[number % len(aspects)] if aspects else None
                places.append(place)
                tasks.append(Task(operator, parent, number, (aspect,) if aspect else ()))
        for place, written in zip(places, self.writer.write(tasks), strict=True):
            found[place] += [answer["response"] for answer in written.answers]
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


def finished_parents(run: RunFolder) -> list[Parent]:
    """The parents that a run has stored so far."""
    return [Parent(**row) for table in run.parts(STAGE) for row in table.to_pylist()]


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
