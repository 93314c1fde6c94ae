"""Both models over sets of responses to a prompt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seamaug.clock import clock
from seamaug.errors import ModelError
from seamaug.models.engines import FeatureEngine, PolicyEngine, RewardEngine
from seamaug.records import Message, SetScores


@dataclass(frozen=True, slots=True)
class ResponseSet:
    """A prompt, its golden response and the worse responses to score with it."""

    prompt: list[Message]
    golden: str
    worse: Sequence[str]


class Scorer:
    """Policy log-probabilities and rewards of response sets; several reward models side by side."""

    def __init__(self, policy: PolicyEngine, rewards: Sequence[RewardEngine]) -> None:
        self.policy = policy
        self.rewards = rewards
        self._ids: dict[str, list[int]] = {}

    def score(self, sets: Sequence[ResponseSet], *, features: bool = False) -> list[SetScores]:
        """Scores of each set, golden response first; with the reward models' features if asked.

        A set whose golden response does not fit a model has `error`; a worse response that does
        not fit, or has no token, is left out of `kept`. Nothing is truncated.
        """
        self._tokenize({text for item in sets for text in (item.golden, *item.worse)})
        results = [SetScores() for _ in sets]
        collected = [
            self._collect(item, result) for item, result in zip(sets, results, strict=True)
        ]
        with clock.kind("policy"):
            logprobs = self.policy.logprobs([(prompt, ids) for prompt, ids, _ in collected])
        with clock.kind("reward"):
            for number, model in enumerate(self.rewards):
                _judge(model, [rows[number] for _, _, rows in collected], results, features)
        for result, found in zip(results, logprobs, strict=True):
            result.logprobs = [item.total for item in found]
            result.tokens = [item.tokens for item in found]
            _check_finite(result)
        return results

    def _tokenize(self, texts: set[str]) -> None:
        """Response token ids of new texts: hack sets share most of their responses."""
        if len(self._ids) > 100_000:
            self._ids.clear()
        new = sorted(texts - self._ids.keys())
        self._ids.update(zip(new, self.policy.response_ids(new), strict=True))

    def _collect(
        self, item: ResponseSet, result: SetScores
    ) -> tuple[list[int], list[list[int]], list[list[list[int]]]]:
        """Prompt ids, response ids and, by reward model, conversation ids of what fits them all."""
        responses = [self._ids[text] for text in (item.golden, *item.worse)]
        none: list[list[list[int]]] = [[] for _ in self.rewards]
        try:
            prompt = self.policy.prompt_ids(item.prompt)
            golden = [model.conversation_ids(item.prompt, [item.golden]) for model in self.rewards]
        except ModelError as error:  # one conversation that a template refuses is no one else's
            result.error = str(error)
            return [], [], none
        if not prompt:  # nothing would predict a response's first token
            result.error = "the policy's chat template makes no token of its prompt"
            return [], [], none
        result.error = self._too_long(len(prompt) + len(responses[0]), [g[0] for g in golden])
        if result.error:
            return prompt, [], none
        rows = [
            own + model.conversation_ids(item.prompt, item.worse)
            for own, model in zip(golden, self.rewards, strict=True)
        ]
        fits = [
            position
            for position, ids in enumerate(responses)
            # One without tokens has no log-probability per token.
            if (ids or position == 0)
            and not self._too_long(len(prompt) + len(ids), [own[position] for own in rows])
        ]
        result.kept = [position - 1 for position in fits[1:]]
        return prompt, [responses[p] for p in fits], [[own[p] for p in fits] for own in rows]

    def _too_long(self, policy_tokens: int, conversations: list[list[int]]) -> str:
        found = [("policy", policy_tokens, self.policy.max_length)]
        for row, model in zip(conversations, self.rewards, strict=True):
            found.append(("reward model", len(row), model.max_length))
        for role, tokens, limit in found:
            if tokens > limit:
                return f"too long for the {role}: {tokens:,} tokens, limit {limit:,}"
        return ""


def _judge(
    model: RewardEngine,
    rows: list[list[list[int]]],
    results: Sequence[SetScores],
    features: bool,
) -> None:
    """Give each result what one reward model says."""
    if not features:
        for result, values in zip(results, model.rewards(rows), strict=True):
            result.rewards.append(values)
        return
    assert isinstance(model, FeatureEngine), "asked of models that have features"
    for result, values, found in zip(results, *model.rewards_and_features(rows), strict=True):
        result.rewards.append(values)
        result.features.append(found)


def _check_finite(result: SetScores) -> None:
    """NaN would pass through every comparison unnoticed: such a set counts as not scored.

    A log-probability of -inf is a finding, not a fault: the policy rules that response out.
    """
    rewards = [value for values in result.rewards for value in values]
    for role, values in (("policy", result.logprobs), ("reward model", rewards)):
        if any(math.isnan(value) for value in values) or (
            role == "reward model" and any(math.isinf(value) for value in values)
        ):
            result.error = f"the {role} returned a score that is not a number"
    if result.error:
        result.logprobs, result.tokens, result.rewards, result.kept = [], [], [], []
        result.features = []
