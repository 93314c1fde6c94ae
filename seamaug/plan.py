"""What a run would do: rows, model calls, tokens and time, from a measured sample."""

import math
import time
from dataclasses import dataclass

import numpy as np

from seamaug.config import Config
from seamaug.generate.variants import operator_names
from seamaug.pipeline import Models
from seamaug.resources import EMBEDDED
from seamaug.scoring.scorer import ResponseSet
from seamaug.scoring.seeds import stage_of
from seamaug.seeds import Seeds

_SAMPLE_SEEDS = 24
_SAMPLE_RESPONSES = 8
KEEP_SHARE = 0.5
"""Assumed share of candidates that are kept; only a run shows the real one."""


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
    steps: list[Step]
    generator_calls: int
    """Requests to the LLM generator, not in the time estimate (nor are samples of the policy)."""

    @property
    def seconds(self) -> float:
        """Estimated time of all stages."""
        return sum(step.seconds for step in self.steps)


def make_plan(config: Config, seeds: Seeds) -> Plan:
    """Plan a run from the seeds and a timed sample of the two models' work."""
    operator_names(config.generate.operators, with_llm=config.generator.name != EMBEDDED)
    models = Models(config, with_writer=False)
    tokens, seconds = _measure(models, seeds)  # per sequence
    select, keep = config.select, config.keep
    selected = min(select.top or math.ceil(select.share * len(seeds)), len(seeds))
    candidates = math.ceil(config.budget / KEEP_SHARE)
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
    made = config.generate
    per_parent = made.llm_worse + made.golden_rewrites
    if "judge" in config.verify.worse.by:  # in both orders
        per_parent += 2 * (made.llm_worse + made.policy_samples)
    llm = 0 if config.generator.name == EMBEDDED else selected * per_parent + candidates // 2
    llm += len(seeds) * _asked(config)
    return Plan(seeds.rows_read, len(seeds), selected, config.budget, steps, llm)


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


def _measure(models: Models, seeds: Seeds) -> tuple[float, float]:
    """Tokens (policy and reward model together) and seconds of one scored sequence."""
    positions = np.unique(np.linspace(0, len(seeds) - 1, _SAMPLE_SEEDS).astype(int))
    sample = list(seeds.at(positions))
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
