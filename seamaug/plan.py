"""What a run would do: rows, model calls, tokens and time, from a measured sample."""

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from seamaug.config import Config
from seamaug.config.base import plain
from seamaug.generate.variants import chosen_operators
from seamaug.models.journal import Account
from seamaug.pilot import Pilot, run_pilot
from seamaug.plan_requests import (
    SAMPLE_CANDIDATES,
    Asked,
    Sampled,
    asked_in_a_run,
    sampled_in_a_run,
)
from seamaug.probes import shown_weights
from seamaug.resources import EMBEDDED
from seamaug.run_models import Models
from seamaug.scoring.scorer import ResponseSet
from seamaug.scoring.seeds import stage_of
from seamaug.seeds import Seeds
from seamaug.units import Spend

_SAMPLE_SEEDS = 24
_SAMPLE_RESPONSES = 8
_SAMPLE_PROMPTS = 8  # that the policy answers: slower than scoring
_TEMPLATE_CHARS = 1500
_CHARS_PER_TOKEN = 4
_MANY = 1_000_000  # candidates, by which what one takes is told
KEEP_SHARE = 0.5
"""Assumed share of candidates that are kept, where no pilot measured it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's work: `calls` are sequences through each model, `tokens` of both together."""

    stage: str
    rows: int
    calls: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What `expand` would do; nothing was written."""

    rows: int
    seeds: int
    selected: int
    budget: int | Spend
    candidates: int
    """As many as the budget takes, or as can be made; tokens or money by the same rough count as
    below."""
    pilot: Pilot | None
    """What the share that is kept was measured by; None where it is assumed."""
    steps: list[Step]
    generator_calls: int
    """Requests to the LLM generator, a judge's included. Their time is not in the estimate: only
    asking would tell it, and asking may cost."""
    read: int
    """Tokens of those requests, roughly."""
    written: int
    """Tokens of the replies, at most."""
    cost: float | None
    """USD for both, by the generator's prices; None without."""

    @property
    def kept(self) -> int:
        """Examples that can be expected."""
        kept = round(self.candidates * _share(self.pilot))
        return kept if isinstance(self.budget, Spend) else min(self.budget, kept)

    def summary(self) -> dict[str, Any]:
        """All of it by name, for JSON."""
        own = {"budget": plain(self.budget), "kept": self.kept, "seconds": self.seconds}
        return {**asdict(self), **own}

    @property
    def seconds(self) -> float:
        """Estimated time of all stages."""
        return sum(step.seconds for step in self.steps)


def make_plan(config: Config, seeds: Seeds, pilot_size: int) -> Plan:
    """Plan a run from the seeds, a timed sample of the two models' work, and a pilot, if any."""
    with_llm = config.generator.name != EMBEDDED
    chosen_operators(config.generate, with_llm=with_llm)  # a misspelt one is refused here too
    pilot = run_pilot(config, seeds, pilot_size) if pilot_size else None
    models = Models(config)
    tokens, seconds = _measure(models, seeds)  # per sequence
    select, keep = config.select, config.keep
    looks_ahead = bool(shown_weights(models.scorer.rewards))
    selected = min(select.top or math.ceil(select.share * len(seeds)), len(seeds))
    most = selected * config.generate.per_parent
    share = _share(pilot)
    candidates = _wanted(config, seeds, selected, share, most)
    goldens = 1 + (config.generate.golden_rewrites if with_llm else 0)
    work = [
        *(
            (stage_of(name), len(seeds), _scored(name, config, len(seeds)))
            for name in config.score.estimators
        ),
        ("parents", selected, goldens * (1 + keep.hack_set_size)),
        # Through the reward model alone: the time is an upper bound.
        ("look ahead", *(_watched(config, selected, len(seeds)) if looks_ahead else (0, 0))),
        ("candidates", candidates, 1 + keep.hack_set_size),
    ]
    steps = [
        Step(name, rows, rows * each, round(rows * each * tokens), rows * each * seconds)
        for name, rows, each in work
    ]
    if pilot:
        steps[-1] = replace(steps[-1], seconds=candidates * pilot.seconds)
    wanted = sampled_in_a_run(config, len(seeds), selected, candidates, looks_ahead=looks_ahead)
    said = [_sampled_step(models, seeds, own) for own in wanted]
    # The time of a pilot's candidates holds what the policy is asked for them.
    steps += [
        replace(s, seconds=0.0) if pilot and s.stage == SAMPLE_CANDIDATES else s for s in said
    ]
    asked = asked_in_a_run(config, len(seeds), selected, candidates)
    account = _account(config, asked, _request_tokens(seeds))
    return Plan(
        rows=seeds.rows_read,
        seeds=len(seeds),
        selected=selected,
        budget=config.budget,
        candidates=candidates,
        pilot=pilot,
        steps=steps,
        generator_calls=account.requests,
        read=account.prompt_tokens,
        written=account.new_tokens,
        cost=_cost(config, account),
    )


def _wanted(config: Config, seeds: Seeds, selected: int, share: float, most: int) -> int:
    """Candidates that the budget takes, of as many as can be made."""
    budget = config.budget
    if not isinstance(budget, Spend):
        return min(math.ceil(budget / share), most) if share else most
    each = _request_tokens(seeds)
    spent = [
        account.tokens if budget.cost is None else _cost(config, account) or 0.0
        for account in (
            _account(config, asked_in_a_run(config, len(seeds), selected, count), each)
            for count in (0, _MANY)
        )
    ]
    one = (spent[1] - spent[0]) / _MANY
    return min(max(0, math.floor((budget.amount - spent[0]) / one)), most) if one else most


def _account(config: Config, asked: Asked, request_tokens: float) -> Account:
    """What these requests come to, roughly."""
    return Account(
        round(asked.requests),
        round(asked.requests * request_tokens),
        round(asked.texts * config.generator.max_new_tokens),
    )


def _cost(config: Config, account: Account) -> float | None:
    """USD; None without prices."""
    price_in, price_out = config.generator.price_in, config.generator.price_out
    return None if price_in is None or price_out is None else account.cost(price_in, price_out)


def _watched(config: Config, selected: int, seeds: int) -> tuple[int, int]:
    """Prompts whose features look-ahead needs, and sequences for each."""
    own = config.keep
    return selected * (1 + own.near) + min(own.probes, seeds), 1 + own.hack_set_size


def _share(pilot: Pilot | None) -> float:
    return pilot.share if pilot else KEEP_SHARE


def _scored(estimator: str, config: Config, seeds: int) -> int:
    """Sequences through the models for one seed, at most."""
    samples = config.score.samples
    if estimator == "contrast":
        samples = min(samples, seeds - 1)
    searched = config.score.adversarial.calls if estimator == "adversarial" else 0
    return 1 + samples + searched


def _request_tokens(seeds: Seeds) -> float:
    """Tokens of one request to the LLM, roughly: a template with a prompt and its responses."""
    sample = list(seeds.at(_spread(seeds)))
    texts = sum(len(seed.text) + 2 * len(seed.golden) for seed in sample) / len(sample)
    return (_TEMPLATE_CHARS + texts) / _CHARS_PER_TOKEN


def _measure(models: Models, seeds: Seeds) -> tuple[float, float]:
    """Tokens (policy and reward model together) and seconds of one scored sequence."""
    sample = list(seeds.at(_spread(seeds)))
    pool = [seed.golden for seed in sample]
    sets = [
        ResponseSet(seed.prompt, seed.golden, (pool[i + 1 :] + pool[:i])[:_SAMPLE_RESPONSES])
        for i, seed in enumerate(sample)
    ]
    scorer = models.scorer
    scorer.score(sets[:4])  # the first batch of a process is slow
    start = time.perf_counter()
    results = scorer.score(sets)
    seconds = time.perf_counter() - start
    calls = sum(len(result.logprobs) for result in results) or 1
    tokens = 0
    for item in sets:
        rows = [
            row
            for model in scorer.rewards
            for row in model.conversation_ids(item.prompt, [item.golden, *item.worse])
        ]
        prompt = len(scorer.policy.prompt_ids(item.prompt))
        answers = scorer.policy.response_ids([item.golden, *item.worse])
        tokens += sum(len(row) for row in rows) + sum(prompt + len(row) for row in answers)
    return tokens / calls, seconds / calls


def _sampled_step(models: Models, seeds: Seeds, own: Sampled) -> Step:
    """What samples of the policy take, by those of a few seeds."""
    prompts = [seed.prompt for seed in seeds.at(_spread(seeds))][:_SAMPLE_PROMPTS]
    policy = models.policy
    start = time.perf_counter()
    said = policy.sample(prompts, n=own.each, seed=0, max_new_tokens=own.max_new_tokens)
    seconds = time.perf_counter() - start
    tokens = 0
    for prompt, texts in zip(prompts, said, strict=True):
        answers = policy.response_ids(texts)
        tokens += sum(len(policy.prompt_ids(prompt)) + len(answer) for answer in answers)
    calls = own.prompts * own.each
    times = calls / (sum(map(len, said)) or 1)
    return Step(own.stage, own.prompts, calls, round(tokens * times), seconds * times)


def _spread(seeds: Seeds) -> np.ndarray:
    """Positions of a few seeds from all over the file."""
    return np.unique(np.linspace(0, len(seeds) - 1, _SAMPLE_SEEDS).astype(int))
