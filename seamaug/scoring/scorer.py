"""Both models over sets of responses to a prompt."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from seamaug.clock import clock
from seamaug.errors import ModelError
from seamaug.models.engines import PolicyEngine, RewardEngine
from seamaug.records import Message, SetScores


@dataclass(frozen=True, slots=True)
class ResponseSet:
    """A prompt, its golden response and the worse responses to score with it."""

    prompt: list[Message]
    golden: str
    worse: Sequence[str]


class Scorer:
    """Policy log-probabilities and rewards of response sets."""

    def __init__(self, policy: PolicyEngine, reward: RewardEngine) -> None:
        self.policy = policy
        self.reward = reward
        self._ids: dict[str, list[int]] = {}

    def score(self, sets: Sequence[ResponseSet]) -> list[SetScores]:
        """Scores of each set, golden response first.

        A set whose golden response does not fit a model has `error`; a worse response that does
        not fit is left out of `kept`. Nothing is truncated.
        """
        self._tokenize({text for item in sets for text in (item.golden, *item.worse)})
        results = [SetScores() for _ in sets]
        collected = [
            self._collect(item, result) for item, result in zip(sets, results, strict=True)
        ]
        with clock.kind("policy"), _fitting("policy"):
            logprobs = self.policy.logprobs([(prompt, ids) for prompt, ids, _ in collected])
        with clock.kind("reward"), _fitting("reward"):
            rewards = self.reward.rewards([rows for _, _, rows in collected])
        for result, found, values in zip(results, logprobs, rewards, strict=True):
            result.logprobs = [item.total for item in found]
            result.tokens = [item.tokens for item in found]
            result.rewards = values
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
    ) -> tuple[list[int], list[list[int]], list[list[int]]]:
        """Prompt ids, response ids and conversation ids of what fits the models."""
        responses = [self._ids[text] for text in (item.golden, *item.worse)]
        try:
            prompt = self.policy.prompt_ids(item.prompt)
            rows = self.reward.conversation_ids(item.prompt, [item.golden])
        except ModelError as error:  # one conversation that a template refuses is no one else's
            result.error = str(error)
            return [], [], []
        result.error = self._too_long(len(prompt) + len(responses[0]), len(rows[0]))
        if result.error:
            return prompt, [], []
        rows += self.reward.conversation_ids(item.prompt, item.worse)
        fits = [
            position
            for position, (ids, row) in enumerate(zip(responses, rows, strict=True))
            if not self._too_long(len(prompt) + len(ids), len(row))
        ]
        result.kept = [position - 1 for position in fits[1:]]
        return prompt, [responses[p] for p in fits], [rows[p] for p in fits]

    def _too_long(self, policy_tokens: int, reward_tokens: int) -> str:
        for role, tokens, limit in (
            ("policy", policy_tokens, self.policy.max_length),
            ("reward model", reward_tokens, self.reward.max_length),
        ):
            if tokens > limit:
                return f"too long for the {role}: {tokens:,} tokens, limit {limit:,}"
        return ""


@contextmanager
def _fitting(role: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"the {role} model ran out of memory ({str(error).splitlines()[0]}); set "
            f"`{role}.batch_tokens` lower and run the same command again: it resumes"
        ) from None


def _check_finite(result: SetScores) -> None:
    """NaN would pass through every comparison unnoticed: such a set counts as not scored.

    A log-probability of -inf is a finding, not a fault: the policy rules that response out.
    """
    for role, values in (("policy", result.logprobs), ("reward model", result.rewards)):
        if any(math.isnan(value) for value in values) or (
            role == "reward model" and any(math.isinf(value) for value in values)
        ):
            result.error = f"the {role} returned a score that is not a number"
    if result.error:
        result.logprobs, result.tokens, result.rewards, result.kept = [], [], [], []
