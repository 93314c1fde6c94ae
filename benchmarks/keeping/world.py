"""What a setting gives for one seed: data, models and their labels, and a pool to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from keeping.samples import RecordedPolicy, Said
from seamaug.config import Config, load_config
from seamaug.models.reward import RewardModel
from seamaug.records import Candidate, Message, Parent, Seed, SetScores
from seamaug.scoring.hack_set import Verifier
from seamaug.scoring.scorer import Scorer
from seamaug.scoring.seam import RewardScale
from seamaug.seeds import Seeds


class Pair(NamedTuple):
    """A preference, as a reward model learns from it."""

    prompt: list[Message]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    share: float
    """Of the training seeds, worst by SEAM, that get variants."""
    variants: int
    """Candidates of each parent."""
    samples: int
    """Responses that the policy says to each prompt."""
    hack_set: int
    """Worse responses of a parent, on which its candidates are scored."""
    new_tokens: int
    """Length of these, at most."""
    reward_steps: int
    """Of the reward model's first training."""
    keep: float
    """Share of the pool that an arm keeps."""
    epochs: int
    """Times that an arm goes through what it kept."""
    rate: float
    """Learning rate of the reward model in the arms."""
    policy_rate: float
    """That of the policy."""
    batches: int
    """Batches of pool rows on which the prediction is tried."""
    probes: int = 256
    """Training prompts, at most, on which the look-ahead foresees SEAM."""
    tolerance: float = 0.05
    """Of the variance guard."""
    wrong_labels: bool = True
    """Whether the reward model's own pairs have any."""


@dataclass(frozen=True)
class World:
    """Data and models of one seed of a setting."""

    name: str
    seed: int
    scale: Scale
    work: Path
    train: Seeds
    held_out: list[Seed]
    pairs: list[Pair]
    """What the reward model was trained on, with its wrong labels: every arm replays it."""
    policy_folder: Path
    reward_folder: Path
    verifier: Verifier
    """What tells right from wrong responses: the truth where there is one."""
    said: Said
    """What the policy says to each prompt: `scale.samples` responses."""

    @cached_property
    def config(self) -> Config:
        """Settings of the package's part in it."""
        scale = self.scale
        return load_config(
            None,
            {
                "policy": {"name": str(self.policy_folder), "batch_tokens": 1 << 15},
                "reward": {
                    "name": str(self.reward_folder),
                    "batch_tokens": 1 << 15,
                    # The arms differ by small changes of the weights, which bfloat16 would round.
                    "dtype": "float32",
                },
                "score": {
                    "estimators": "on-policy",
                    "samples": scale.samples,
                    "batch_seeds": 256,
                },
                "select": {"share": scale.share},
                "generate": {
                    "worse": ("given", "policy"),
                    "policy_samples": scale.samples,
                    "batch_parents": 64,
                },
                "keep": {
                    "hack_set_size": scale.hack_set,
                    "probes": scale.probes,
                    "variance_tolerance": scale.tolerance,
                },
                "seed": self.seed,
            },
        )

    @cached_property
    def policy(self) -> RecordedPolicy:
        """The policy of the setting."""
        return RecordedPolicy(self.config.policy, self.said)

    @cached_property
    def reward(self) -> RewardModel:
        """The reward model before any arm."""
        return RewardModel(self.config.reward)

    @cached_property
    def scorer(self) -> Scorer:
        """Both."""
        return Scorer(self.policy, [self.reward])


@dataclass(frozen=True)
class Scored:
    """A candidate that passed verification, with its scores on its parent's hack set."""

    candidate: Candidate
    parent: Parent
    scores: SetScores
    rejected: int
    """Which of the parent's worse responses is its rejected one."""
    before: float
    """SEAM of the parent."""
    after: float
    """Its own SEAM, on the same hack set."""

    @property
    def pair(self) -> Pair:
        """What a reward model learns from it."""
        own = self.candidate
        return Pair(own.prompt, own.chosen, own.rejected)


@dataclass(frozen=True)
class Pool:
    """What the arms choose from."""

    rows: list[Scored]
    parents: list[Parent]
    scale: RewardScale
    """Of the reward model's scores over the training seeds."""


def pairs_of(rows: Sequence[Scored]) -> list[Pair]:
    """The preferences of some pool rows."""
    return [row.pair for row in rows]
