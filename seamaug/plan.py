"""What a run would do: rows, model calls, tokens and time, from a measured sample."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seamaug.config import Config
from seamaug.generate.llm.operators import LLMOperator
from seamaug.generate.operators import Operator
from seamaug.generate.variants import chosen_operators
from seamaug.models.journal import Account
from seamaug.pilot import Pilot, run_pilot
from seamaug.resources import EMBEDDED
from seamaug.run_models import Models
from seamaug.scoring.scorer import ResponseSet
from seamaug.scoring.seeds import stage_of
from seamaug.seeds import Seeds

_SAMPLE_SEEDS = 24
_SAMPLE_RESPONSES = 8
_TEMPLATE_CHARS = 1500
_CHARS_PER_TOKEN = 4
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
    budget: int
    candidates: int
    """As many as the budget takes, or as can be made."""
    pilot: Pilot | None
    """What the share that is kept was measured by; None where it is assumed."""
    steps: list[Step]
    generator_calls: int
    """Requests to the LLM generator, not in the time estimate (nor are samples of the policy)."""
    read: int
    """Tokens of those requests, roughly."""
    written: int
    """Tokens of the replies, at most."""
    cost: float | None
    """USD for both, by the generator's prices; None without."""

    @property
    def kept(self) -> int:
        """Examples that can be expected."""
        return min(self.budget, round(self.candidates * _share(self.pilot)))

    @property
    def seconds(self) -> float:
        """Estimated time of all stages."""
        return sum(step.seconds for step in self.steps)


def make_plan(config: Config, seeds: Seeds, pilot_size: int) -> Plan:
    """Plan a run from the seeds, a timed sample of the two models' work, and a pilot, if any."""
    operators = chosen_operators(config.generate, with_llm=config.generator.name != EMBEDDED)
    pilot = run_pilot(config, seeds, pilot_size) if pilot_size else None
    models = Models(config)
    tokens, seconds = _measure(models, seeds)  # per sequence
    select, keep = config.select, config.keep
    selected = min(select.top or math.ceil(select.share * len(seeds)), len(seeds))
    most = selected * config.generate.per_parent
    share = _share(pilot)
    candidates = min(math.ceil(config.budget / share), most) if share else most
    work = [
        *(
            (stage_of(name), len(seeds), _scored(name, config, len(seeds)))
            for name in config.score.estimators
        ),
        ("parents", selected, 1 + keep.hack_set_size),
        ("candidates", candidates, 1 + keep.hack_set_size),
    ]
    steps = [
        Step(name, rows, rows * each, round(rows * each * tokens), rows * each * seconds)
        for name, rows, each in work
    ]
    if pilot:
        steps[-1] = replace(steps[-1], seconds=candidates * pilot.seconds)
    made = config.generate
    per_parent = made.llm_worse + made.golden_rewrites
    if "judge" in config.verify.worse.by:  # in both orders
        per_parent += 2 * (made.llm_worse + made.policy_samples)
    llm = 0 if config.generator.name == EMBEDDED else selected * per_parent
    llm += round(candidates * _per_candidate(*operators)) + len(seeds) * _asked(config)
    read, written = round(llm * _request_tokens(seeds)), llm * config.generator.max_new_tokens
    price_in, price_out = config.generator.price_in, config.generator.price_out
    cost = (
        None
        if price_in is None or price_out is None
        else Account(llm, read, written).cost(price_in, price_out)
    )
    return Plan(
        rows=seeds.rows_read,
        seeds=len(seeds),
        selected=selected,
        budget=config.budget,
        candidates=candidates,
        pilot=pilot,
        steps=steps,
        generator_calls=llm,
        read=read,
        written=written,
        cost=cost,
    )


def _share(pilot: Pilot | None) -> float:
    return pilot.share if pilot else KEEP_SHARE


def _scored(estimator: str, config: Config, seeds: int) -> int:
    """Sequences through the models for one seed, at most."""
    samples = config.score.samples
    if estimator == "contrast":
        samples = min(samples, seeds - 1)
    searched = config.score.adversarial.calls if estimator == "adversarial" else 0
    return 1 + samples + searched


def _asked(config: Config) -> int:
    """Requests to the LLM for the score of one seed, at most."""
    own = config.score
    judged = "on-policy" in own.estimators and "judge" in config.verify.worse.by
    written = math.ceil(own.samples / own.llm.per_call) if "llm" in own.estimators else 0
    return written + (2 * own.samples if judged else 0)


def _per_candidate(rules: Sequence[Operator], llm: Sequence[LLMOperator]) -> float:
    """Mean requests to the LLM for a candidate: one to write it, two to judge a changed answer."""
    if not llm:
        return 0.0
    written = sum(3 if operator.changes_answer else 1 for operator in llm) / len(llm)
    return written / 2 if rules else written


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


def _spread(seeds: Seeds) -> np.ndarray:
    """Positions of a few seeds from all over the file."""
    return np.unique(np.linspace(0, len(seeds) - 1, _SAMPLE_SEEDS).astype(int))
