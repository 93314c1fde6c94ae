"""What a diagnosis says, typed, and as plain data for JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from seamaug.diagnosis.statistics import Figure

FIGURES = {
    "reward_variance": "Reward variance over the policy's own responses to a prompt",
    "flat_prompts": "Share of prompts on which that variance is below the floor",
    "on_policy_accuracy": "Share of pairs of samples that reward model and judge order alike",
    "off_policy_accuracy": "Share of the given pairs that the reward model orders as labelled",
    "accuracy_gap": "Off-policy less on-policy accuracy",
    "teacher_score": "Mean of reward variance and accuracy",
    "seam_prob": "SEAM over the samples that the judge finds worse, weighting prob",
    "seam_paper": "SEAM over the same, weighting paper",
    "hack_rate": "Share of worse samples that the reward model puts above the golden response",
    "plausibility": "Log-probability per token of the worse samples, nats",
    "mismatch_rate": "Share of pairs of two policies' samples ordered unlike the judge",
    "conflict": "Mean |z of reward − z of log-probability| over a prompt's samples",
    "kendall_tau": "Kendall's τ between reward and log-probability over a prompt's samples",
    "length_correlation": "Correlation of length and reward within prompts",
    "difference_objective": "MetaRM's difference objective J, on raw rewards",
    "distinct_responses": "Share of different texts among a prompt's samples",
}
"""Every figure of a cell, in the order in which it is shown."""


@dataclass(frozen=True)
class Cell:
    """One policy with one reward model."""

    policy: str
    reward: str
    figures: dict[str, Figure]
    """By the names in FIGURES."""
    is_constant: bool
    """Whether the reward model gives all samples one reward."""
    per_prompt: dict[str, list[float]] = field(default_factory=dict)
    """Of the figures that each prompt has by itself, in the order of `Diagnosis.prompts`; NaN where
    it has none. Empty where it was read from JSON."""


@dataclass(frozen=True)
class Advice:
    """A finding, and what to do about it."""

    policy: str
    reward: str
    finding: str
    """With the figures that show it."""
    do: str
    source: str
    """Of the threshold, or of the advice."""


@dataclass(frozen=True)
class LeftOut:
    """A prompt without figures."""

    where: str
    of: str
    """Policy, or reward model."""
    reason: str


@dataclass(frozen=True)
class Prompt:
    """A prompt that was looked at."""

    id: str
    where: str
    text: str
    """The last user turn."""


@dataclass(frozen=True)
class Diagnosis:
    """What `seamaug.diagnose` returns."""

    policies: list[str]
    rewards: list[str]
    prompt_count: int
    """That were looked at."""
    samples: int
    """Responses of each policy to each prompt."""
    cells: list[Cell]
    """Every policy with every reward model, by policy and then by reward model."""
    advice: list[Advice]
    judged: dict[str, dict[str, int]]
    """By policy: how many responses each verifier judged, `unknown` where none could."""
    floor: float
    """Below which a prompt's reward variance counts as flat."""
    prompts: list[Prompt] = field(default_factory=list)
    """Each of them; none where it was read from JSON."""
    left_out: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def cell(self, policy: str, reward: str) -> Cell:
        """The figures of a pair; KeyError for models that were not diagnosed."""
        for cell in self.cells:
            if (cell.policy, cell.reward) == (policy, reward):
                return cell
        raise KeyError((policy, reward))

    def ranked(self, policy: str) -> list[Cell]:
        """Reward models as teachers of this policy, the best first: by teacher score, or by reward
        variance where no accuracy is known."""
        cells = [cell for cell in self.cells if cell.policy == policy]
        return sorted(cells, key=lambda cell: -_rank_value(cell))

    def to_dict(self) -> dict[str, Any]:
        """All but the numbers of single prompts, as JSON has it; None for what is not there."""
        found = asdict(self)
        for cell in found["cells"]:
            del cell["per_prompt"]
        ranking = {policy: [c.reward for c in self.ranked(policy)] for policy in self.policies}
        found["prompts"] = found.pop("prompt_count")
        return {**found, "ranking": ranking}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Diagnosis":
        """The diagnosis that `to_dict` told of, without single prompts.

        Raises ValueError where it is none.
        """
        known = {**told, "prompt_count": told.get("prompts"), "prompts": []}
        found = TypeAdapter(cls).validate_python(known)
        pairs = {(cell.policy, cell.reward) for cell in found.cells}
        figures = [figure for cell in found.cells for figure in cell.figures.values()]
        whole = all(cell.figures.keys() == FIGURES.keys() for cell in found.cells)
        whole &= not any(None in (f.low, f.high) for f in figures if f.value is not None)
        if not whole or pairs != {(p, r) for p in found.policies for r in found.rewards}:
            raise ValueError("a figure or a pair of models is missing")
        if found.judged.keys() != set(found.policies):
            raise ValueError("`judged` is not by policy")
        return found


def _rank_value(cell: Cell) -> float:
    values: Sequence[float | None] = (
        cell.figures["teacher_score"].value,
        cell.figures["reward_variance"].value,
    )
    return next((value for value in values if value is not None), -math.inf)
