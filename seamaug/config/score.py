"""Section `score`: how SEAM is computed."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from seamaug.config.base import Positive, Section, listed


class ContrastConfig(Section):
    """The contrast estimator: golden responses of the nearest different prompts."""

    low: Annotated[float, Field(ge=-1, le=1)] = 0.8
    high: Annotated[float, Field(ge=-1, le=1)] = 0.9
    """Cosine band [low, high): nearer prompts may share the answer, farther ones say nothing."""
    at_least: Positive = 8
    """A band with fewer prompts than this counts as empty and is widened downwards."""
    generic_from: Annotated[int, Field(ge=2)] = 3
    """A golden response that so many prompts share ("I have no comment") may be right for any
    prompt: it enters a hack set only where there are too few others."""
    pool: Positive = 100_000
    """Prompts whose golden responses may enter hack sets; of more seeds, so many at even distances.
    So time grows with the seeds and not with their square."""

    @model_validator(mode="after")
    def _ordered(self) -> "ContrastConfig":
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, not {self.low:g} and {self.high:g}")
        return self


class LLMHackConfig(Section):
    """The llm estimator: worse answers written by the generator."""

    aspects: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "a factual error",
        "a misread question",
        "irrelevance",
        "bad grammar",
        "over-confidence",
    )
    """What is to be wrong with an answer; gone through in turn."""
    per_call: Positive = 5
    """Worse answers asked for in one reply."""


class AdversarialConfig(Section):
    """The adversarial estimator: a beam search for damage that the reward model rewards."""

    calls: Positive = 240
    """Texts that each reward model scores per prompt."""
    proposals: Positive = 24
    """New texts per prompt and round."""
    beam: Positive = 4
    """Texts that each round goes on from; 1 is a greedy search."""


class OnPolicyConfig(Section):
    """The on-policy estimator: samples of the policy that `verify.worse` finds worse."""

    max_new_tokens: Positive = 128


EstimatorName = Literal["contrast", "llm", "adversarial", "on-policy"]
Weighting = Literal["prob", "paper"]


class ScoreConfig(Section):
    """How SEAM is computed."""

    estimators: Annotated[
        tuple[EstimatorName, ...], BeforeValidator(listed), Field(min_length=1)
    ] = ("contrast",)
    """How hack sets are built. The first one decides what is selected; all are reported."""
    weighting: Weighting = "prob"
    """The weighting that selection and the keep rule use; both are always reported."""
    samples: Positive = 30
    """Responses per prompt and estimator (N in the paper)."""
    same_answer: Annotated[float, Field(gt=0, le=1)] = 0.9
    """ROUGE-L F1 with the golden response from which on another prompt's golden response, or one
    that an LLM wrote to be worse (for a SEAM or for a parent), passes for right: what the check
    `overlap` of `verify.worse` takes there in place of `verify.reference_overlap`. It is higher
    because these are meant to be wrong, and wrong in one thing: a response that the LLM was shown
    the golden one for shares most words with it. A sample of the policy is meant to be right."""
    contrast: ContrastConfig = ContrastConfig()
    llm: LLMHackConfig = LLMHackConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    on_policy: OnPolicyConfig = OnPolicyConfig()
    batch_seeds: Positive = 64
    """Seeds per part: what a killed run can lose."""

    @field_validator("estimators")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("an estimator is named twice")
        return names
