"""From stored rows to the figures of every policy with every reward model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seamaug.diagnosis.figures import Rewarded, Sampled, discrepancies, mismatch_rates, teaching
from seamaug.diagnosis.judging import Verdicts
from seamaug.diagnosis.observe import Row
from seamaug.diagnosis.result import FIGURES, Cell
from seamaug.diagnosis.statistics import Bootstrap, mean_of
from seamaug.reward_variance import is_constant

_NO_JUDGE = (
    "no sample was judged: seeds with golden responses, or --judge with a reward model, are needed"
)
_ALIKE = (
    "the judge tells no two samples of a prompt apart; one that grades may: --judge with a reward "
    "model or a function of yours"
)
_ONE_REWARD = "on no prompt do both rewards and {} differ between samples"


@dataclass(frozen=True)
class Pass:
    """What was observed of one policy, row by prompt."""

    name: str
    samples: Sequence[Row]
    verdicts: Sequence[Row]
    rewards: Mapping[str, Sequence[Row]]
    """By reward model."""

    @cached_property
    def errors(self) -> list[str]:
        """Why each prompt is left out; empty where it is not. A reward model that fails on a prompt
        leaves it out for all, so that all are compared on the same prompts."""
        found = [row["error"] for row in self.samples]
        for name, rows in self.rewards.items():
            for prompt, row in enumerate(rows):
                if row["error"] and not found[prompt]:
                    found[prompt] = f"reward model {name}: {row['error']}"
        return found

    @property
    def usable(self) -> np.ndarray:
        """Positions of the prompts that are not left out."""
        return np.flatnonzero([not error for error in self.errors])

    def sampled(self, prompts: np.ndarray) -> Sampled:
        """Samples at these positions."""
        return Sampled(
            _stacked(self.samples, "logprobs", prompts, np.float64),
            _stacked(self.samples, "tokens", prompts, np.float64),
            _stacked(self.samples, "counts", prompts, np.int64),
            Verdicts(
                _stacked(self.verdicts, "shortfalls", prompts, np.float64),
                _stacked(self.verdicts, "verifiers", prompts, object),
                _stacked(self.verdicts, "worse", prompts, bool),
            ),
        )

    def rewards_of(self, reward: str, prompts: np.ndarray) -> np.ndarray:
        """Raw rewards of the samples at these positions: (prompts, samples)."""
        return _stacked(self.rewards[reward], "rewards", prompts, np.float64)


def make_cells(
    passes: Sequence[Pass], given: Mapping[str, Sequence[Row]], floor: float, seed: int
) -> list[Cell]:
    """Figures of every policy with every reward model; `given`: rewards of the given responses, by
    reward model and then by prompt."""
    return [
        _cell(passes, own, reward, rows, floor, seed)
        for own in passes
        for reward, rows in given.items()
    ]


def _cell(
    passes: Sequence[Pass],
    own: Pass,
    reward: str,
    given: Sequence[Row],
    floor: float,
    seed: int,
) -> Cell:
    prompts = own.usable
    sampled = own.sampled(prompts)
    rewarded = _rewarded(own.rewards_of(reward, prompts), [given[p]["rewards"] for p in prompts])
    statistics = teaching(sampled, rewarded, floor) | discrepancies(sampled, rewarded)
    statistics["mismatch_rate"] = mean_of(_mismatches(passes, own, reward, prompts))
    bootstrap = Bootstrap(len(prompts), seed)
    known = bool((~np.isnan(sampled.verdicts.shortfalls)).any())
    missing = _missing(known, several=len(passes) > 1)
    per_prompt = {}
    for figure, statistic in statistics.items():
        if statistic.values is not None:
            values = np.full(len(own.samples), np.nan)
            values[prompts] = statistic.values
            per_prompt[figure] = values.tolist()
    return Cell(
        own.name,
        reward,
        {figure: bootstrap.figure(statistics[figure], missing[figure]) for figure in FIGURES},
        is_constant(rewarded.samples),
        per_prompt,
    )


def _rewarded(samples: np.ndarray, given: Sequence[Sequence[float]]) -> Rewarded:
    """The first of the given responses is the golden one; those that do not fit have no number."""
    return Rewarded(
        samples,
        np.array([own[0] if own else np.nan for own in given]),
        [
            [] if not own or np.isnan(own[0]) else [r for r in own[1:] if not np.isnan(r)]
            for own in given
        ],
    )


def _mismatches(passes: Sequence[Pass], own: Pass, reward: str, prompts: np.ndarray) -> np.ndarray:
    """Mean mismatch rate with each of the other policies, NaN where there is none: (prompts,)."""
    found = np.full((len(passes), len(prompts)), np.nan)
    for place, other in enumerate(passes):
        if other is own:
            continue
        both = np.intersect1d(prompts, other.usable)
        found[place, np.isin(prompts, both)] = mismatch_rates(
            own.rewards_of(reward, both),
            own.sampled(both).verdicts,
            other.rewards_of(reward, both),
            other.sampled(both).verdicts,
        )
    known = ~np.isnan(found)
    total: np.ndarray = np.where(known, found, 0.0).sum(axis=0)
    mean: np.ndarray = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
    return mean


def _missing(judged: bool, *, several: bool) -> dict[str, str]:
    """By figure, why it would not be there and how to get it."""
    alike = _ALIKE if judged else _NO_JUDGE
    worse = "the judge finds no sample worse than its golden response" if judged else _NO_JUDGE
    return {
        **dict.fromkeys(FIGURES, ""),
        "on_policy_accuracy": alike,
        "off_policy_accuracy": "the seeds have no worse responses: give pairs (chosen, rejected)",
        "accuracy_gap": "it needs both accuracies",
        "teacher_score": "it needs an accuracy: give pairs, or a --judge",
        **dict.fromkeys(("seam_prob", "seam_paper"), _NO_JUDGE),
        **dict.fromkeys(("hack_rate", "plausibility"), worse),
        "mismatch_rate": alike if several else "it needs a second policy: give --policy twice",
        "kendall_tau": _ONE_REWARD.format("log-probabilities"),
        "length_correlation": _ONE_REWARD.format("lengths"),
    }


def _stacked(rows: Sequence[Row], name: str, prompts: np.ndarray, kind: type) -> np.ndarray:
    """(prompts, samples); None becomes NaN."""
    return np.array([rows[prompt][name] for prompt in prompts], dtype=kind)
