"""The configured estimators, with what each needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from seamaug.config import Config
from seamaug.models.engines import PolicyEngine, RewardEngine
from seamaug.retrieve.index import VectorIndex
from seamaug.scoring.adversarial import Adversarial
from seamaug.scoring.contrast import Contrast, IsWorse
from seamaug.scoring.hack_set import Estimator, Finder, Verifier
from seamaug.scoring.llm import LLMEstimator, Writer
from seamaug.scoring.on_policy import OnPolicy


@dataclass(frozen=True)
class Parts:
    """What estimators are made from; the writer is there where the config needs one."""

    goldens: pa.ChunkedArray
    index: VectorIndex
    policy: PolicyEngine
    rewards: Sequence[RewardEngine]
    is_worse: IsWorse
    """For other prompts' golden responses."""
    samples_verifier: Finder | None
    """For samples of the policy; there for the on-policy estimator."""
    written_verifier: Verifier | None
    """For what the writer wrote to be worse; there for the llm estimator."""
    writer: Writer | None


def make_estimator(name: str, config: Config, parts: Parts) -> Estimator:
    """One of the estimators that `score.estimators` names."""
    own, samples, seed = config.score, config.score.samples, config.seed
    if name == "contrast":
        return Contrast(parts.goldens, parts.index, own.contrast, samples, parts.is_worse)
    if name == "adversarial":
        return Adversarial(parts.rewards, own.adversarial, samples, seed)
    if name == "on-policy":
        assert parts.samples_verifier is not None, "whoever makes the parts sees to it"
        return OnPolicy(parts.policy, parts.samples_verifier, own.on_policy, samples, seed)
    assert parts.writer is not None, "the config sees to it that there is a generator"
    assert parts.written_verifier is not None, "whoever makes the parts sees to it"
    return LLMEstimator(parts.writer, parts.written_verifier, own.llm, samples, seed)
