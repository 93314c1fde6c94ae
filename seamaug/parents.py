"""From drafts to parents: golden responses, worse responses, baseline SEAM.

This is where verbs meet (generate, verify, score), so it stands beside the pipeline.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from seamaug.config import Config
from seamaug.drafts import Draft, Drafts
from seamaug.generate.llm.operators import Kind
from seamaug.generate.llm.writer import LLMWriter, Task
from seamaug.models.engines import PolicyEngine
from seamaug.records import Evidence, Parent, Seed, SetScores, text_key, to_table
from seamaug.run.executor import Executor
from seamaug.run.folder import RunFolder
from seamaug.run.parts import make_parts
from seamaug.run.progress import progress
from seamaug.scoring.hack_set import Verifier
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import RewardScale, discrepancy
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
    """Makes parents of drafts, with models: in this process, or in a worker's."""

    config: Config
    seeds: Seeds
    scored_by: str
    """The estimator whose hack sets the drafts have."""
    scale: RewardScale
    policy: PolicyEngine
    scorer: Scorer
    writer: LLMWriter | None
    samples_verifier: Verifier
    """Of what the policy says."""
    written_verifier: Verifier
    """Of what the LLM wrote to be worse."""

    def make(self, drafts: list[Draft]) -> pa.Table:
        """The parents, in the drafts' order."""
        parents = self._with_goldens([draft.parent for draft in drafts])
        parents = self._with_worse(parents, [draft.scored for draft in drafts])
        return to_table(self._with_baseline(parents), Parent.SCHEMA)

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

    def _with_worse(
        self, parents: list[Parent], scored: list[list[tuple[str, Evidence]]]
    ) -> list[Parent]:
        by = self.writer.by_aspect.origin if self.writer and self.scored_by == "llm" else ""
        sources: dict[str, Callable[[list[Parent]], Found]] = {
            "given": self._given,
            "policy": self._sampled,
            "llm": self._written_worse,
            "scored": lambda _: [[Worse(*found, by) for found in own] for own in scored],
        }
        sets = [_WorseSet(parent, self.config.keep.hack_set_size) for parent in parents]
        for name in self.config.generate.worse:
            source = self.scored_by if name == "scored" else name
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
            for answer in written.answers.values():
                found[place].setdefault(answer["response"], task.operator.origin)
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
            seams=[discrepancy(results[i], self.scale).under(weighting) for i in fits],
        )

    def _seed(self, purpose: str, order: int, parents: list[Parent]) -> int:
        key = text_key([self.config.seed, purpose, order, parents[0].id])
        return int(key[:8], 16)


def make_parents(
    run: RunFolder,
    drafts: Drafts,
    positions: Sequence[int],
    executor: Executor,
    maker: Callable[[Any], ParentMaker],
    *,
    quiet: bool = False,
) -> list[Parent]:
    """The parents at these seed positions, in order; finished parts are read, not made anew.

    maker: from a worker's models.
    """
    batch = drafts.config.generate.batch_parents
    groups = [
        [int(position) for position in positions[start : start + batch]]
        for start in range(0, len(positions), batch)
    ]

    def make(missing: Sequence[list[int]]) -> Iterator[pa.Table]:
        return executor.map("score", map(drafts.of, missing), partial(_making, maker))

    with progress(STAGE, len(positions), "seeds", quiet=quiet) as bar:
        make_parts(run, STAGE, groups, make, bar)
    return finished_parents(run)


def _making(maker: Callable[[Any], ParentMaker], models: Any) -> Callable[[list[Draft]], pa.Table]:
    return maker(models).make


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
