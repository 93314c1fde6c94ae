"""The policy's side of a run's look-ahead: what SFT on a candidate does to SEAM.

Like probes.py this is where verbs meet, so it stands beside the pipeline. Watched are the same
seeds as for the reward models: the probes, and those around each parent. Their gradients are stored
once, in parts, as one mean each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from seamaug.clock import clock
from seamaug.keep.outlook import Outlook
from seamaug.keep.policy_step import PolicyStep, seam_slopes
from seamaug.models.sketch import HeadGradients
from seamaug.probes import (
    Case,
    Make,
    OutlookMaker,
    Row,
    batches,
    near_reader,
    stored_rows,
)
from seamaug.records import Candidate, Parent
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.scoring.seam import mean_logprobs, misjudgements

PROBES, NEAR = "policy-probes", "policy-near"
_AT_ONCE = 16  # prompts whose responses' sketches are held

_SCHEMA = pa.schema([("owner", pa.string()), ("gradient", pa.binary()), ("spread", pa.float64())])
"""`owner`: the parent near which the prompts lie, or empty for the probes. `gradient`: float32,
mean G over the prompts. `spread`: of the probes, the standard deviation of the fall of their SEAM
by a step at learning rate 1 on the golden response of each."""


class PolicySide:
    """Foresees what SFT on candidates does to SEAM."""

    def __init__(self, gradients: HeadGradients, step: PolicyStep) -> None:
        self._gradients = gradients
        self._step = step

    def falls(self, candidates: Sequence[Candidate]) -> list[float]:
        """By how much SEAM falls by a step on each one's chosen response."""
        found = _sketches(self._gradients, [(c.prompt, [c.chosen]) for c in candidates])
        return [
            self._step.fall(rows[0], candidate.parent)
            for candidate, rows in zip(candidates, found, strict=True)
        ]


@dataclass(frozen=True)
class PolicySideMaker:
    """Makes the policy's side of a run, part by resumable part."""

    watch: OutlookMaker
    gradients: HeadGradients

    def make(
        self, run: RunFolder, parents: Sequence[Parent], outlook: Outlook, *, quiet: bool
    ) -> PolicySide:
        """`outlook`: of the run before anything is kept.

        The learning rate is `keep.policy_weight` times the one at which both sides foresee equally
        spread falls of the probes' SEAM: by SFT on their golden responses, and by training the
        reward models on these against the worse ones. It is 0 where the policy's SFT does nothing.
        """
        keep, size = self.watch.config.keep, self.watch.config.generate.batch_parents
        groups = batches(parents, size)
        with progress("policy's side", len(groups), "parts", quiet=quiet) as bar:
            [probes] = self._part(run, PROBES, 0, partial(self._probe_rows, parents))
            for number, group in enumerate(groups):
                resumed = run.has_part(NEAR, number)
                self._part(run, NEAR, number, partial(self._near_rows, group))
                bar.advance(1, resumed=resumed)
        spread = probes["spread"]
        eta = keep.policy_weight * outlook.spread() / spread if spread else 0.0
        near = near_reader(
            parents,
            size,
            lambda number: {
                row["owner"]: _gradient(row) for row in run.stored(NEAR, number).to_pylist()
            },
        )
        return PolicySide(self.gradients, PolicyStep(_gradient(probes), near, keep.local, eta))

    def _part(self, run: RunFolder, stage: str, number: int, make: Make) -> list[Row]:
        return stored_rows(run, stage, number, _SCHEMA, make)

    def _probe_rows(self, parents: Sequence[Parent]) -> list[Row]:
        positions = self.watch.probe_positions(parents)
        mean = self._mean(positions)
        changes = [
            float(mean @ rows[0])
            for batch in batches(positions, _AT_ONCE)
            for rows in _sketches(
                self.gradients, [(s.prompt, [s.golden]) for s in self.watch.seeds.at(batch)]
            )
        ]
        return [{"owner": "", "gradient": mean.tobytes(), "spread": float(np.std(changes))}]

    def _near_rows(self, group: Sequence[Parent]) -> list[Row]:
        owned: dict[str, list[int]] = {}
        for owner, position in self.watch.near_positions(group):
            owned.setdefault(owner, []).append(position)
        return [
            {"owner": owner, "gradient": self._mean(positions).tobytes()}
            for owner, positions in owned.items()
        ]

    def _mean(self, positions: Sequence[int]) -> np.ndarray:
        """Mean G over some seeds, float32 (k,)."""
        total = np.zeros(self.gradients.size)
        for batch in batches(positions, _AT_ONCE):
            hack_sets = [self._hack_set(position) for position in batch]
            found = _sketches(self.gradients, [case for case, _ in hack_sets])
            for (_, slopes), rows in zip(hack_sets, found, strict=True):
                total += slopes @ rows
        mean: np.ndarray = (total / len(positions)).astype(np.float32)
        return mean

    def _hack_set(self, position: int) -> tuple[Case, np.ndarray]:
        """A seed's prompt with its worst responses, and dSEAM/dl of each.

        Those that are scored beyond `keep.hack_set_size` are left out of SEAM.
        """
        config, scores = self.watch.config, self.watch.scores
        row = scores.main.row(position)
        worst = row.worst(scores.scale)[: config.keep.hack_set_size]
        slopes = seam_slopes(
            mean_logprobs(row.scores)[1:][worst],
            misjudgements(row.scores, scores.scale)[worst],
            config.score.weighting,
            np.array(row.scores.tokens)[1:][worst],
            row.counts[worst],
            row.draws,
        )
        return (self.watch.seeds[position].prompt, [row.worse[i] for i in worst]), slopes


def _sketches(gradients: HeadGradients, cases: Sequence[Case]) -> list[np.ndarray]:
    """Of each case's responses: (responses, k)."""
    policy = gradients.policy
    with clock.kind("policy"):
        return gradients.sketches(
            [
                (policy.prompt_ids(prompt), policy.response_ids(list(texts)))
                for prompt, texts in cases
            ]
        )


def _gradient(row: Row) -> np.ndarray:
    return np.frombuffer(row["gradient"], np.float32)
