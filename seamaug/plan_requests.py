"""What a run asks for by its config, at most: requests to the LLM, and samples of the policy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seamaug.config import Config
from seamaug.generate.operators import Operator
from seamaug.generate.variants import chosen_operators
from seamaug.resources import EMBEDDED


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests to the LLM, and the texts of full length that their replies may hold."""

    requests: float = 0.0
    texts: float = 0.0

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(self.requests + other.requests, self.texts + other.texts)

    def __mul__(self, times: float) -> "Asked":
        return Asked(self.requests * times, self.texts * times)


SAMPLE_CANDIDATES = "sample candidates"

_NOTHING = Asked()
_ONE = Asked(1, 1)
_IN_BOTH_ORDERS = Asked(2, 2)
"""A judge's verdicts."""


def asked_in_a_run(config: Config, seeds: int, selected: int, candidates: int) -> Asked:
    """What a run of so many seeds, parents and candidates asks; nothing without a generator.

    Replies that cannot be read are asked for once more, which no config tells.
    """
    if config.generator.name == EMBEDDED:
        return _NOTHING
    return (
        asked_of_a_seed(config) * seeds
        + asked_of_a_parent(config) * selected
        + asked_of_a_candidate(config) * candidates
    )


def asked_of_a_seed(config: Config) -> Asked:
    """For its score: worse answers, several in a reply, and what the judge is to say of them."""
    own, found = config.score, _NOTHING
    if "llm" in own.estimators:
        found += Asked(math.ceil(own.samples / own.llm.per_call), own.samples)
    judged = sum(name in ("llm", "on-policy") for name in own.estimators)
    return found + _judged(config) * judged * own.samples


def asked_of_a_parent(config: Config) -> Asked:
    """Golden rewrites, worse responses, and what the judge is to say of these and of samples."""
    made = config.generate
    worse = made.llm_worse if "llm" in made.worse else 0
    return _ONE * (made.golden_rewrites + worse) + _judged(config) * (worse + _samples(config))


def asked_of_a_candidate(config: Config) -> Asked:
    """The mean over the operators.

    A changed answer is judged beside the old one, and beside each sample of the policy, or else
    each worse response of the parent.
    """
    rules, llm = chosen_operators(config.generate, with_llm=True)
    found = _NOTHING
    for operator in llm:
        found += Asked(1, operator.form().texts)
        if operator.changes_answer:
            found += _IN_BOTH_ORDERS
            found += _judged(config) * (_samples(config) or config.keep.hack_set_size)
    return found * (_llm_share(rules) / len(llm)) if llm else _NOTHING


@dataclass(frozen=True, slots=True)
class Sampled:
    """Responses that the policy is asked for: so many to each prompt."""

    stage: str
    prompts: int
    each: int
    max_new_tokens: int


def sampled_in_a_run(
    config: Config, seeds: int, selected: int, candidates: int, *, looks_ahead: bool
) -> list[Sampled]:
    """What the policy is to say to seeds, to parents, to look-ahead's probes, and to variants whose
    answer changed."""
    scored, made, keep = config.score, config.generate, config.keep
    probes = min(keep.variance_prompts, keep.probes, seeds) if looks_ahead else 0
    on_policy = seeds if "on-policy" in scored.estimators else 0
    changed = round(candidates * _changed_share(config)), _samples(config)
    longest = made.policy_max_new_tokens
    found = [
        Sampled("sample seeds", on_policy, scored.samples, scored.on_policy.max_new_tokens),
        Sampled("sample parents", selected, _samples(config), longest),
        Sampled("sample look ahead", probes, keep.variance_samples, longest),
        Sampled(SAMPLE_CANDIDATES, *changed, longest),
    ]
    return [own for own in found if own.prompts * own.each]


def _changed_share(config: Config) -> float:
    """The share of variants whose answer an operator changes."""
    if config.generator.name == EMBEDDED:
        return 0.0
    rules, llm = chosen_operators(config.generate, with_llm=True)
    changed = sum(operator.changes_answer for operator in llm)
    return _llm_share(rules) * changed / len(llm) if llm else 0.0


def _llm_share(rules: Sequence[Operator]) -> float:
    """LLM operators make half of the variants where there are others."""
    return 0.5 if rules else 1.0


def _samples(config: Config) -> int:
    """What the policy says of each prompt that is to get worse responses."""
    return config.generate.policy_samples if config.generate.samples_policy else 0


def _judged(config: Config) -> Asked:
    """For one response that the checks are to find worse."""
    return _IN_BOTH_ORDERS if "judge" in config.verify.worse.by else _NOTHING
