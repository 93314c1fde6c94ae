"""Rounds of generate -> verify -> rescore -> keep, until the budget is met.

Like parents.py this is where verbs meet, so it stands beside the pipeline.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from seamaug.config import Config
from seamaug.generate.variants import VariantMaker
from seamaug.keep.rules import KeepRule
from seamaug.records import KEPT, Candidate, Parent, SetScores, text_key, to_table
from seamaug.run.folder import RunFolder
from seamaug.run.progress import Progress, progress
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import RewardScale, discrepancy, mean_logprobs, worst_responses
from seamaug.steering import Steering
from seamaug.verify.screen import CONTAMINATED, Screen
from seamaug.verify.text import normalised

STAGE = "candidates"
BUDGET_MET = "budget met"
RAN_OUT = "candidates ran out"
TIME_UP = "time is up"

_FEW = 10  # examples with one rejected response that are always allowed


@dataclass
class Progressed:
    """What the finished parts say; rebuilt from them when a run resumes."""

    kept: int = 0
    made: int = 0
    rejected_uses: Counter[str] = field(default_factory=Counter)
    """Kept examples by content hash of their rejected response."""

    def take(self, table: pa.Table) -> None:
        """Count a finished part."""
        kept = table.filter(pc.equal(table["verdict"], KEPT))
        self.rejected_uses.update(text_key(normalised(t)) for t in kept["rejected"].to_pylist())
        self.made += table.num_rows
        self.kept += kept.num_rows


@dataclass(frozen=True)
class Rounds:
    """Makes and judges candidates, round after round."""

    config: Config
    maker: VariantMaker
    screen: Screen
    scorer: Scorer
    rule: KeepRule
    scale: RewardScale
    """Of the reward models' scores over all seeds: the unit of SEAM."""

    def run(
        self,
        run: RunFolder,
        parents: Sequence[Parent],
        clusters: Mapping[int, int],
        *,
        deadline: float,
        quiet: bool = False,
    ) -> str:
        """Fill the budget; returns why it ended: BUDGET_MET, RAN_OUT or TIME_UP.

        `clusters`: cluster of each parent by its seed's position.
        `deadline` is a `time.monotonic` value; a part in flight is finished. Raises LimitReached
        where the LLM may take no more; a part in flight is then made anew when the run goes on.
        """
        state = Progressed()
        usable = [parent for parent in parents if parent.is_usable]
        steering = Steering(self.config, usable, clusters, self.maker.rules, self.maker.llm)
        part = 0
        with progress("expand", self.config.budget, "kept", quiet=quiet) as bar:
            for number in itertools.count():
                wanted = steering.next_round(number)
                if not wanted:
                    return RAN_OUT
                active = [parent for parent in usable if parent.id in wanted]
                for group in _groups(active, self.config.generate.batch_parents):
                    resumed = run.has_part(STAGE, part)
                    if not resumed and time.monotonic() >= deadline:
                        return TIME_UP
                    self._one_part(run, part, group, number, wanted, state, steering)
                    part += 1
                    _show(bar, state, resumed)
                    if state.kept >= self.config.budget:
                        return BUDGET_MET
        raise AssertionError("a round without variants is the last one")

    def _one_part(
        self,
        run: RunFolder,
        part: int,
        group: list[Parent],
        number: int,
        wanted: Mapping[str, int],
        state: Progressed,
        steering: Steering,
    ) -> None:
        parents = {parent.id: parent for parent in group}

        def make() -> pa.Table:
            counts = [wanted[parent.id] for parent in group]
            candidates = self.maker.make(group, number, counts, self.screen.is_new, steering.order)
            self.screen.judge(candidates, parents)
            self._keep(self._rescore(candidates, parents), state, steering)
            return to_table(candidates, Candidate.SCHEMA)

        table = run.part(STAGE, part, make)
        state.take(table)
        steering.take(group, table)
        self.screen.take(table, parents)

    def _rescore(
        self, candidates: list[Candidate], parents: dict[str, Parent]
    ) -> list[tuple[Candidate, Parent, SetScores]]:
        """Both models over each candidate that passed, on its parent's hack set."""
        passed = [candidate for candidate in candidates if not candidate.verdict]
        results = self.scorer.score(
            [ResponseSet(c.prompt, c.chosen, parents[c.parent].worse) for c in passed]
        )
        scored = []
        for candidate, scores in zip(passed, results, strict=True):
            parent = parents[candidate.parent]
            if scores.error or len(scores.kept) < len(parent.worse):
                candidate.fail("rescore", scores.error or "a response is too long for a model")
            else:
                scored.append((candidate, parent, scores))
        return scored

    def _pick_rejected(
        self, candidate: Candidate, parent: Parent, scores: SetScores, uses: Counter[str]
    ) -> str:
        """Give the candidate its rejected response: the worst one that may still be used.

        The worst by likelihood-weighted misjudgement. Returns why, if none may.
        """
        ranked = [int(i) for i in worst_responses(scores, self.scale)]
        most = max(_FEW, math.ceil(self.config.keep.same_rejected * self.config.budget))
        clean = [i for i in ranked if not self.screen.is_contaminated(parent.worse[i])]
        free = [i for i in clean if uses[text_key(normalised(parent.worse[i]))] < most]
        i = (free or clean or ranked)[0]
        candidate.rejected = parent.worse[i]
        candidate.rejected_source = parent.worse_sources[i]
        candidate.verifier = parent.verifiers[i]
        candidate.verifier_score = parent.verifier_scores[i]
        if candidate.evidence:
            told = candidate.evidence[i]
            candidate.verifier, candidate.verifier_score = told.verifier, told.score
        rewards = self.scale.standardised(scores.rewards)
        candidate.margin_after = float(rewards[0] - rewards[i + 1])
        mean = mean_logprobs(scores)
        candidate.logprob_chosen, candidate.logprob_rejected = float(mean[0]), float(mean[i + 1])
        if free:
            return ""
        return "rejected responses used up" if clean else CONTAMINATED

    def _keep(
        self,
        scored: list[tuple[Candidate, Parent, SetScores]],
        state: Progressed,
        steering: Steering,
    ) -> None:
        """Judge candidates in order: each kept one counts against the budget and the caps."""
        room = self.config.budget - state.kept
        uses, quotas = state.rejected_uses.copy(), steering.quotas.copy()
        for candidate, parent, scores in scored:
            candidate.seam_before = parent.seam_beside(candidate.chosen)
            candidate.seam_after = discrepancy(scores, self.scale).under(
                self.config.score.weighting
            )
            none_left = self._pick_rejected(candidate, parent, scores, uses)
            cluster = steering.clusters[parent.id]
            reason = (
                self.rule(candidate.seam_before, candidate.seam_after)
                or none_left
                or quotas.problem(parent.id, cluster, candidate.operator)
            )
            if normalised(candidate.chosen) == normalised(candidate.rejected):
                reason = "chosen equals rejected"
            elif not reason and room == 0:
                reason = "over budget"
            if reason:
                candidate.reject(reason)
            else:
                candidate.verdict = KEPT
                room -= 1
                uses[text_key(normalised(candidate.rejected))] += 1
                quotas.take(parent.id, cluster, candidate.operator)


def _groups(parents: list[Parent], size: int) -> list[list[Parent]]:
    return [parents[start : start + size] for start in range(0, len(parents), size)]


def _show(bar: Progress, state: Progressed, resumed: bool) -> None:
    share = state.kept / state.made if state.made else 0
    bar.to(state.kept, f"{share:.0%} of {state.made:,} candidates", resumed=resumed)


def funnel(tables: Any) -> dict[str, dict[str, int]]:
    """Candidates by verdict and reason, over all finished parts."""
    counts: dict[str, dict[str, int]] = {}
    for table in tables:
        for group in (
            table.group_by(["verdict", "reason"]).aggregate([([], "count_all")]).to_pylist()
        ):
            reasons = counts.setdefault(group["verdict"], {})
            reasons[group["reason"]] = reasons.get(group["reason"], 0) + group["count_all"]
    return {verdict: dict(sorted(counts[verdict].items())) for verdict in sorted(counts)}
