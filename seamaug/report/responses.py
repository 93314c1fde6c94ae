"""What policy and reward model said of the seeds' responses, as figures and a sample."""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Response:
    """A scored response of a seed."""

    position: int
    """Of the seed."""
    is_golden: bool
    logprob: float
    """Mean per token under the policy, nats."""
    reward: float
    """In standard deviations of the reward model's scores, from their mean."""
    margin: float
    """Reward less the golden response's: above 0 the worse one is misjudged."""
    weight: float
    """What it adds to the SEAM of its prompt."""
    text: str
    """Empty for the golden one, which this stage does not store."""


@dataclass
class Correlation:
    """Pearson's r of a stream of pairs."""

    sums: np.ndarray = field(default_factory=lambda: np.zeros(6))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take in a batch."""
        self.sums += [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y]

    @property
    def r(self) -> float | None:
        """None where one of the two does not vary."""
        n, x, y, xx, yy, xy = self.sums
        scatter = (n * xx - x * x) * (n * yy - y * y)
        # What is left of equal values after rounding is no variance.
        if n < 2 or scatter <= 1e-12 * max(n * xx * n * yy, 1e-300):
            return None
        return float((n * xy - x * y) / math.sqrt(scatter))


@dataclass
class Lengths:
    """Rewards by length of the response."""

    bins: dict[int, np.ndarray] = field(default_factory=dict)
    """By rounded log2 of the tokens, in halves: count, sum and sum of squares of the rewards."""
    overall: Correlation = field(default_factory=Correlation)
    """Of log-length and reward, over all responses."""
    within: Correlation = field(default_factory=Correlation)
    """The same, each less its prompt's mean: what is left when prompts are held fixed."""

    def add(self, tokens: np.ndarray, rewards: np.ndarray) -> None:
        """Take in the responses to one prompt."""
        logs = np.log2(np.maximum(tokens, 1))
        self.overall.add(logs, rewards)
        self.within.add(logs - logs.mean(), rewards - rewards.mean())
        for size, reward in zip(np.rint(2 * logs).astype(int).tolist(), rewards, strict=True):
            self.bins.setdefault(size, np.zeros(3))
            self.bins[size] += (1, reward, reward * reward)


@dataclass
class ScoredResponses:
    """Figures over all scored responses, and some of them with their texts."""

    seams: list[float] = field(default_factory=list)
    """SEAM by position of the seed, NaN where it could not be scored."""
    count: int = 0
    """Scored responses, golden ones among them, that have a finite log-probability."""
    worse: int = 0
    misjudged: int = 0
    """Worse responses that the reward model puts above the golden one."""
    impossible: int = 0
    """Responses that the policy rules out: they have no finite log-probability to be drawn at."""
    lengths: Lengths = field(default_factory=Lengths)
    points: list[Response] = field(default_factory=list)
    """A random sample."""
    worst: list[Response] = field(default_factory=list)
    """Those that add most to the SEAM of their prompts, the largest first."""
