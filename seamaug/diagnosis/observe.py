"""The models' passes of a diagnosis: samples, verdicts and rewards, in parts that resume.

One model is loaded at a time: a grid of checkpoints takes the memory of one.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import pyarrow as pa

from seamaug.clock import clock
from seamaug.config import Config, PolicyConfig, RewardConfig
from seamaug.diagnosis.judging import judge, unknown
from seamaug.errors import ModelError
from seamaug.models.engines import PolicyEngine, RewardEngine
from seamaug.models.load import load_policy, load_reward
from seamaug.models.rewards import raw_rewards, reward_problem
from seamaug.records import Seed, text_key
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.verify.worse import Verifier

Row = dict[str, Any]
Model = TypeVar("Model")
_SAMPLES = pa.schema(
    [
        ("texts", pa.list_(pa.string())),
        ("logprobs", pa.list_(pa.float64())),
        ("tokens", pa.list_(pa.int64())),
        ("counts", pa.list_(pa.int64())),
        ("error", pa.string()),
    ]
)
"""One row per prompt. `counts`: how often a text was drawn, at its first place; 0 at others."""
_VERDICTS = pa.schema(
    [
        ("shortfalls", pa.list_(pa.float64())),
        ("verifiers", pa.list_(pa.string())),
        ("worse", pa.list_(pa.bool_())),
        ("failures", pa.list_(pa.string())),
    ]
)
_REWARDS = pa.schema([("rewards", pa.list_(pa.float64())), ("error", pa.string())])


@dataclass(frozen=True)
class Passes:
    """What the models are asked, prompt by prompt; finished parts are read, not recomputed."""

    run: RunFolder
    config: Config
    seeds: Sequence[Seed]
    """The prompts of the diagnosis."""
    quiet: bool

    def samples(self, number: int, config: PolicyConfig) -> list[Row]:
        """Responses of a policy to every prompt, with their log-probabilities.

        Raises ModelError for a policy that cannot end a response.
        """
        policy = once(lambda: _policy(config))

        def make(batch: Sequence[Seed]) -> list[Row]:
            return self._sampled(policy(), batch)

        return self._rows(f"samples-{number}", _SAMPLES, make, list(self._batches(self.seeds)))

    def verdicts(
        self, number: int, samples: Sequence[Row], verifier: Callable[[], Verifier]
    ) -> list[Row]:
        """What the judge makes of a policy's responses.

        Reward models alone can judge without a golden response.
        """
        config = self.config.verify.worse
        graded = {"vote", *([config.function] if config.function else [])}

        def make(batch: Sequence[tuple[Seed, Row]]) -> list[Row]:
            asked = [bool(seed.golden) or config.by == ("vote",) for seed, _ in batch]
            cases = [(s, row["texts"]) for (s, row), ask in zip(batch, asked, strict=True) if ask]
            told = iter(judge(verifier(), cases, graded) if cases else [])
            found = [
                next(told) if ask else unknown(len(row["texts"]))
                for (_, row), ask in zip(batch, asked, strict=True)
            ]
            return [{name: getattr(own, name) for name in _VERDICTS.names} for own in found]

        pairs = list(zip(self.seeds, samples, strict=True))
        return self._rows(f"verdicts-{number}", _VERDICTS, make, list(self._batches(pairs)))

    def rewards(
        self, number: int, config: RewardConfig, samples: Sequence[Sequence[Row]]
    ) -> tuple[list[Row], list[list[Row]]]:
        """Rewards of the given responses, golden first, and of each policy's samples."""
        model = once(lambda: load_reward(config))

        def make(batch: Sequence[tuple[Seed, Sequence[str]]]) -> list[Row]:
            return _rewarded(model(), batch)

        def rows(stage: str, texts: Sequence[Sequence[str]]) -> list[Row]:
            cases = list(self._batches(list(zip(self.seeds, texts, strict=True))))
            return self._rows(f"rewards-{number}-{stage}", _REWARDS, make, cases)

        given = [[seed.golden, *seed.worse] if seed.golden else [] for seed in self.seeds]
        pairs = rows("given", given)
        own = [[row["texts"] for row in of_one] for of_one in samples]
        return pairs, [rows(f"of-{policy}", texts) for policy, texts in enumerate(own)]

    def _batches(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        size = self.config.diagnose.batch_prompts
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _rows(
        self, stage: str, schema: pa.Schema, make: Callable[[Any], list[Row]], batches: list[Any]
    ) -> list[Row]:
        found: list[Row] = []
        with progress(stage, len(self.seeds), "prompts", quiet=self.quiet) as bar:
            for number, batch in enumerate(batches):
                resumed = self.run.has_part(stage, number)
                table = partial(_table, make, batch, schema)
                found += self.run.part(stage, number, table).to_pylist()
                bar.advance(len(batch), resumed=resumed)
        return found

    def _sampled(self, policy: PolicyEngine, batch: Sequence[Seed]) -> list[Row]:
        own = self.config.diagnose
        drawn = policy.sample(
            [seed.prompt for seed in batch],
            n=own.samples,
            seed=int(text_key([self.config.seed, "diagnose", batch[0].id])[:8], 16),
            max_new_tokens=min(own.max_new_tokens, policy.max_length // 2),
        )
        texts = {text for found in drawn for text in found}
        ids = dict(zip(sorted(texts), policy.response_ids(sorted(texts)), strict=True))
        rows: list[Row] = []
        sets = []
        for seed, found in zip(batch, drawn, strict=True):
            error = "" if found else "the prompt leaves the policy no room for a response"
            prompt = policy.prompt_ids(seed.prompt) if found else []
            # A text that was drawn can have more tokens when it is read again.
            if any(len(prompt) + len(ids[text]) > policy.max_length for text in found):
                error, found = "a response is too long for the policy to read again", []
            rows.append({"texts": found, "counts": _first_counts(found), "error": error})
            sets.append((prompt, [ids[text] for text in found]))
        with clock.kind("policy"):
            scores = policy.logprobs(sets)
        for row, own_scores in zip(rows, scores, strict=True):
            row["logprobs"] = [score.total for score in own_scores]
            row["tokens"] = [score.tokens for score in own_scores]
            if any(math.isnan(total) for total in row["logprobs"]):
                row["error"] = "the policy returned a log-probability that is not a number"
        return rows


def once(load: Callable[[], Model]) -> Callable[[], Model]:
    """Gives a model that is loaded where it is first asked for: not if all parts are there."""

    @cache
    def get() -> Model:
        with clock.stage("load models"), clock.kind("models"):
            return load()

    return get


def _policy(config: PolicyConfig) -> PolicyEngine:
    policy = load_policy(config)
    if config.engine == "transformers":
        from seamaug.models.policy import CausalLM

        if isinstance(policy, CausalLM) and not policy.ends:
            raise ModelError(
                f"policy model {config.name!r} names no token that ends a response, so its samples "
                "would all run to `diagnose.max_new_tokens`; set `eos_token_id` in its "
                "generation_config.json"
            )
    return policy


def _table(make: Callable[[Any], list[Row]], batch: Any, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(make(batch), schema=schema)


def _first_counts(texts: Sequence[str]) -> list[int]:
    left = Counter(texts)
    return [left.pop(text, 0) for text in texts]


def _rewarded(model: RewardEngine, batch: Sequence[tuple[Seed, Sequence[str]]]) -> list[Row]:
    cases = [(seed.prompt, texts) for seed, texts in batch]
    with clock.kind("reward"):
        found = raw_rewards(model, cases)
    return [
        {"rewards": scores, "error": reward_problem(model, seed.prompt, texts, scores)}
        for (seed, texts), scores in zip(batch, found, strict=True)
    ]
