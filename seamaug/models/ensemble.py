"""An ensemble of reward models: how far each puts one response above another, and all together.

Preference strength (arXiv 2401.06080): of pair i in vote m ``d_im = r_m(chosen) − r_m(rejected)``,
and mu and sigma are mean and standard deviation over m.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seamaug.models.engines import RewardEngine
from seamaug.models.rewards import raw_votes, reward_problem
from seamaug.records import Message


@dataclass(frozen=True)
class Strength:
    """Of each pair: (pairs,)."""

    mu: np.ndarray
    """Mean margin of the chosen response, in the reward models' units (log-odds where they are
    Bradley–Terry models)."""
    sigma: np.ndarray
    """Standard deviation of the margin over the votes (1/M)."""
    votes: np.ndarray
    """How many there are: 0 where no model can read the pair, and mu and sigma are then 0 too."""

    def agrees(self, certain: float, margin: float = 0.0) -> np.ndarray:
        """Whether the votes agree with the label: mu − `certain` · sigma > `margin`."""
        found: np.ndarray = self.mu - certain * self.sigma > margin
        return found

    def contradicts(self, certain: float) -> np.ndarray:
        """Whether they agree that it is wrong: mu + `certain` · sigma < 0."""
        found: np.ndarray = self.mu + certain * self.sigma < 0
        return found


def strength(margins: np.ndarray) -> Strength:
    """mu and sigma of margins (pairs, M), over the votes that there are: NaN is none."""
    there = np.isfinite(margins)
    votes = there.sum(axis=1)
    count = np.maximum(votes, 1)
    mu = np.where(there, margins, 0.0).sum(axis=1) / count
    spread = np.where(there, (margins - mu[:, None]) ** 2, 0.0).sum(axis=1) / count
    return Strength(mu, np.sqrt(spread), votes)


class Comparison(NamedTuple):
    """A prompt with a response, and others that this one is compared with."""

    prompt: list[Message]
    chosen: str
    others: Sequence[str]


class Ensemble:
    """Reward models that vote: each once, or as often as it has scores."""

    def __init__(self, members: Sequence[RewardEngine]) -> None:
        self._members = members

    def margins(self, cases: Sequence[Comparison]) -> list[np.ndarray]:
        """Raw reward of the chosen response less that of each other one: (others, M) per case.

        NaN where a member cannot read one of the two.
        """
        return self.margins_and_problems(cases)[0]

    def margins_and_problems(
        self, cases: Sequence[Comparison]
    ) -> tuple[list[np.ndarray], list[list[str]]]:
        """As `margins`, and for each case what kept each member from voting; empty if nothing."""
        asked = [(case.prompt, [case.chosen, *case.others]) for case in cases]
        votes = [raw_votes(member, asked) for member in self._members]
        margins = [
            np.concatenate([own[number][0] - own[number][1:] for own in votes], axis=1)
            for number in range(len(cases))
        ]
        problems = [
            [
                reward_problem(member, prompt, texts, own[number].sum(axis=1).tolist())
                for member, own in zip(self._members, votes, strict=True)
            ]
            for number, (prompt, texts) in enumerate(asked)
        ]
        return margins, problems
