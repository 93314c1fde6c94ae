"""Rounds of generate -> verify -> rescore -> keep, until the budget is met.

Like parents.py this is where verbs meet, so it stands beside the pipeline.
"""

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from seamaug.clock import clock
from seamaug.config import Config
from seamaug.generate.variants import VariantMaker
from seamaug.keep.keeper import STEP, Keeper
from seamaug.keep.quotas import Quotas
from seamaug.keep.rules import Case
from seamaug.models.generation import TIME_UP
from seamaug.records import KEPT, Candidate, Parent, to_table
from seamaug.rescoring import Rescoring, rejected_key
from seamaug.run.folder import RunFolder
from seamaug.run.progress import Progress, progress
from seamaug.run.track import Track
from seamaug.steering import Steering
from seamaug.target import Target
from seamaug.verify.screen import Screen

STAGE = "candidates"
RAN_OUT = "candidates ran out"
SATURATED = "saturated"


@dataclass
class Progressed:
    """What the finished parts say; rebuilt from them when a run resumes."""

    kept: int = 0
    made: int = 0
    rejected_uses: Counter[str] = field(default_factory=Counter)
    """Kept examples by `rejected_key`."""

    def take(self, table: pa.Table) -> None:
        """Count a finished part."""
        kept = table.filter(pc.equal(table["verdict"], KEPT))
        self.rejected_uses.update(rejected_key(text) for text in kept["rejected"].to_pylist())
        self.made += table.num_rows
        self.kept += kept.num_rows


@dataclass(frozen=True)
class Rounds:
    """Makes and judges candidates, round after round."""

    config: Config
    maker: VariantMaker
    screen: Screen
    rescoring: Rescoring
    keeper: Keeper
    track: Track
    target: Target

    def run(
        self,
        run: RunFolder,
        parents: Sequence[Parent],
        clusters: Mapping[int, int],
        *,
        deadline: float,
        quiet: bool = False,
    ) -> str:
        """Fill the budget; returns why it ended: one of FILLED, RAN_OUT, SATURATED or TIME_UP.

        `clusters`: cluster of each parent by its seed's position.
        `deadline` is a `time.monotonic` value; a part in flight is finished. Raises LimitReached
        where the LLM may take no more; a part in flight is then made anew when the run goes on.
        """
        state = Progressed()
        usable = [parent for parent in parents if parent.is_usable]
        steering = Steering(
            self.config, usable, clusters, self.maker.rules, self.maker.llm, self.keeper.outlook
        )
        part = 0
        with progress("expand", self.target.total, self.target.unit, quiet=quiet) as bar:
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
                    self._show(bar, state, resumed)
                    if not resumed:
                        self.track(self._scalars(state), part + 1)
                    if outcome := self.target.outcome(state.kept, part):
                        return outcome
                    if self.keeper.is_saturated:
                        return SATURATED
                    part += 1
        raise AssertionError("a round without variants is the last one")

    def _scalars(self, state: Progressed) -> dict[str, float]:
        """How far the run is, and what training on the kept examples is predicted to leave."""
        found: dict[str, float] = {"kept": state.kept, "candidates": state.made}
        if seen := self.keeper.seen:
            found |= {"foreseen": seen.seam, "foreseen_variance": seen.variance}
        return found

    def _show(self, bar: Progress, state: Progressed, resumed: bool) -> None:
        share = state.kept / state.made if state.made else 0
        note = f"{share:.0%} of {state.made:,} candidates"
        if self.target.unit != "kept":
            note = f"{state.kept:,} kept, {note}"
        bar.to(self.target.done(state.kept), note, resumed=resumed)

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
            with self.target.part(part):
                candidates = self.maker.make(
                    group, number, counts, self.screen.is_new, steering.order
                )
                self.screen.judge(candidates, parents)
                cases = self.rescoring.cases(candidates, parents, state.rejected_uses)
            limits = _Limits(steering.quotas.copy(), steering.clusters)
            with clock.kind("keep"):
                self.keeper.judge(cases, self.target.room(state.kept, len(cases)), limits)
            table = to_table(candidates, Candidate.SCHEMA)
            return _with_steps(table, self.keeper.steps(cases))

        table = run.part(STAGE, part, make, chained=True)
        state.take(table)
        steering.take(group, table)
        self.screen.take(table, parents)
        with clock.kind("keep"):
            self.keeper.take(table)


@dataclass(frozen=True)
class _Limits:
    """The quotas of a part in the making."""

    quotas: Quotas
    clusters: Mapping[str, int]

    def problem(self, case: Case) -> str:
        parent = case.parent.id
        return self.quotas.problem(parent, self.clusters[parent], case.candidate.operator)

    def take(self, case: Case) -> None:
        parent = case.parent.id
        self.quotas.take(parent, self.clusters[parent], case.candidate.operator)


def _with_steps(table: pa.Table, steps: Mapping[str, bytes]) -> pa.Table:
    column = [steps.get(candidate) for candidate in table["id"].to_pylist()]
    return table.append_column(STEP, pa.array(column, pa.binary()))


def _groups(parents: list[Parent], size: int) -> list[list[Parent]]:
    return [parents[start : start + size] for start in range(0, len(parents), size)]


def funnel(tables: Any) -> dict[str, dict[str, int]]:
    """Candidates by verdict and reason, over all finished parts."""
    counts: dict[str, dict[str, int]] = {}
    for table in tables:
        # As in read_part, no threads of Arrow's.
        groups = table.group_by(["verdict", "reason"], use_threads=False)
        for group in groups.aggregate([([], "count_all")]).to_pylist():
            reasons = counts.setdefault(group["verdict"], {})
            reasons[group["reason"]] = reasons.get(group["reason"], 0) + group["count_all"]
    return {verdict: dict(sorted(counts[verdict].items())) for verdict in sorted(counts)}
