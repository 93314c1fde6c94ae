"""From selected seeds to parents: neighbours, golden responses, worse responses, baseline SEAM.

This is where verbs meet (retrieve, generate, verify, score), so it stands beside the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from seamaug.config import Config
from seamaug.generate.llm.operators import Kind
from seamaug.generate.llm.writer import LLMWriter, Task
from seamaug.models.engines import PolicyEngine
from seamaug.records import Evidence, Parent, Seed, SetScores, text_key, to_table
from seamaug.retrieve.index import VectorIndex
from seamaug.retrieve.neighbours import diverse
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.scoring.hack_set import Verifier
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import discrepancy
from seamaug.scoring.seeds import SeedScores
from seamaug.seeds import Seeds
from seamaug.verify.response import rouge_l
from seamaug.verify.text import loses_numbers, normalised

STAGE = "parents"


class Worse(NamedTuple):
    """A worse response, what vouches for it, and the LLM operator and template that wrote it."""

    text: str
    evidence: Evidence
    template: str = ""


Found = list[list[Worse]]
"""Worse responses for each parent."""


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
    samples_verifier: Verifier
    """Of what the policy says."""
    written_verifier: Verifier
    """Of what the LLM wrote to be worse."""

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

    def _with_goldens(self, parents: list[Parent]) -> list[Parent]:
        """Add the LLM's rewrites of the golden response that keep its numbers and its gist."""
        extra = self._written("golden", self.config.generate.golden_rewrites, parents)
        return [self._with_rewrites(*case) for case in zip(parents, extra, strict=True)]

    def _with_rewrites(self, parent: Parent, templates: dict[str, str]) -> Parent:
        overlaps = {
            text: rouge_l(text, parent.golden)
            for text in templates
            if text != parent.golden and not loses_numbers(text, parent.golden)
        }
        limit = self.config.verify.reference_overlap
        kept = [text for text, overlap in overlaps.items() if overlap >= limit]
        return replace(
            parent,
            goldens=[parent.golden, *kept],
            golden_scores=[None, *(overlaps[text] for text in kept)],
            templates=[[text, templates[text]] for text in kept],
        )

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

    def _seeds(self, parents: list[Parent]) -> list[Seed]:
        return list(self.seeds.at([parent.position for parent in parents]))

    def _given(self, parents: list[Parent]) -> Found:
        given = Evidence("given")
        return [[Worse(text, given) for text in seed.worse] for seed in self._seeds(parents)]

    def _sampled(self, parents: list[Parent]) -> Found:
        config = self.config.generate
        if not config.samples_policy:
            return [[] for _ in parents]
        samples = self.policy.sample(
            [parent.prompt for parent in parents],
            n=config.policy_samples,
            seed=self._seed("policy", 0, parents),
            max_new_tokens=config.policy_max_new_tokens,
        )
        return self._verified(self.samples_verifier, parents, samples)

    def _written_worse(self, parents: list[Parent]) -> Found:
        count = self.config.generate.llm_worse
        written = self._written("worse", count, parents)
        found = self._verified(self.written_verifier, parents, [list(own) for own in written])
        return [
            [worse._replace(template=own[worse.text]) for worse in worst]
            for own, worst in zip(written, found, strict=True)
        ]

    def _written(self, kind: Kind, count: int, parents: list[Parent]) -> list[dict[str, str]]:
        """`count` responses to each parent, by the LLM's operators of a kind in turn: the operator
        and its template's hash by text.

        Fewer where a reply is of no use. Each parent begins the turn elsewhere.
        """
        found: list[dict[str, str]] = [{} for _ in parents]
        if self.writer is None:
            return found
        operators = [op for op in self.writer.operators.values() if op.kind == kind]
        aspects = self.config.score.llm.aspects if kind == "worse" else ()
        places, tasks = [], []
        for place, parent in enumerate(parents):
            start = int(text_key([self.config.seed, kind, parent.id])[:8], 16)
            for number in range(start, start + count):
                operator = operators[number % len(operators)]
                aspect = aspects[number // len(operators) % len(aspects)] if aspects else None
                places.append(place)
                tasks.append(Task(operator, parent, number, (aspect,) if aspect else ()))
        for place, task, written in zip(places, tasks, self.writer.write(tasks), strict=True):
            template = f"{task.operator.name}@{task.operator.template.hash}"
            for answer in written.answers:
                found[place].setdefault(answer["response"], template)
        return found

    def _verified(
        self, verifier: Verifier, parents: list[Parent], texts: Sequence[Sequence[str]]
    ) -> Found:
        """Those that the verifier finds worse."""
        findings = verifier(list(zip(self._seeds(parents), texts, strict=True)))
        return [
            [Worse(text, evidence) for text, evidence in zip(own, told, strict=True) if evidence]
            for own, told in zip(texts, findings, strict=True)
        ]

    def _scored(self, parents: list[Parent]) -> Found:
        return [
            [
                Worse(*found)
                for found in self.scores.worse(parent.position)[: self.config.keep.hack_set_size]
            ]
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
            return replace(
                parent, worse=[], worse_sources=[], verifiers=[], verifier_scores=[], error=error
            )
        weighting = self.config.score.weighting
        # A rewrite of the golden response that does not fit, or not beside the same worse ones,
        # has no baseline to compare its variants with.
        fits = [i for i, scores in enumerate(results) if scores.kept == own.kept]
        return replace(
            parent,
            goldens=[parent.goldens[i] for i in fits],
            golden_scores=[parent.golden_scores[i] for i in fits],
            worse=[parent.worse[i] for i in own.kept],
            worse_sources=[parent.worse_sources[i] for i in own.kept],
            verifiers=[parent.verifiers[i] for i in own.kept],
            verifier_scores=[parent.verifier_scores[i] for i in own.kept],
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
    items: list[tuple[str, Worse]] = field(default_factory=list)
    """Each with its source."""

    def add(self, source: str, found: Sequence[Worse]) -> None:
        known = (*self.parent.goldens, *(worse.text for _, worse in self.items))
        taken = {normalised(text) for text in known}
        for worse in found:
            if len(self.items) < self.size and normalised(worse.text) not in taken:
                taken.add(normalised(worse.text))
                self.items.append((source, worse))

    def parent_with_it(self) -> Parent:
        return replace(
            self.parent,
            worse=[worse.text for _, worse in self.items],
            worse_sources=[source for source, _ in self.items],
            verifiers=[worse.evidence.verifier for _, worse in self.items],
            verifier_scores=[worse.evidence.score for _, worse in self.items],
            templates=[
                *self.parent.templates,
                *([worse.text, worse.template] for _, worse in self.items if worse.template),
            ],
        )
