"""Policy and reward model on a vLLM server (vLLM 0.31 or newer), over its OpenAI-compatible API."""

import math
from collections.abc import Sequence
from typing import Any

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.batching import packed
from seamaug.models.client import Client
from seamaug.models.sequences import Draw, SequencePolicy, SequenceReward, response_total

_RULED_OUT = -9999.0
"""What vLLM's server writes for -inf, which JSON does not have."""
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)


class ServerPolicy(SequencePolicy):
    """The policy on a server: token ids go out, prompt log-probabilities come back."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        self._client = Client(config, "policy")
        # The server, too, always generates a token.
        limit = self._client.card().get("max_model_len")
        self.max_length = min(self.max_length, limit - 1) if limit else self.max_length

    def _totals(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        batches = _batches([len(p) + len(r) for p, r in rows], self.config.batch_tokens)
        bodies = [
            {
                "prompt": [[*rows[i][0], *rows[i][1]] for i in batch],
                "max_tokens": 1,
                "prompt_logprobs": 0,
                "add_special_tokens": False,
            }
            for batch in batches
        ]
        totals = [0.0] * len(rows)
        answers = self._client.post_all("/completions", bodies)
        for batch, answer in zip(batches, answers, strict=True):
            for i, choice in zip(batch, self._choices(answer, len(batch)), strict=True):
                totals[i] = response_total(
                    *rows[i], self._positions(choice), engine=self._client.name
                )
        return totals

    def _positions(self, choice: dict[str, Any]) -> list[dict[int, float] | None]:
        """Log-probability by token id at each position; None at the first."""
        found = choice.get("prompt_logprobs")
        if found is None:
            self._client.refuse(
                "returns no prompt log-probabilities; seamaug needs vLLM's server (its "
                "`prompt_logprobs`), without anything in front that drops them"
            )
        try:
            return [
                position and {int(token): _nats(item) for token, item in position.items()}
                for position in found
            ]
        except _MALFORMED:
            self._client.refuse("answered with prompt log-probabilities that are not vLLM's")

    def _choices(self, answer: Any, count: int) -> list[dict[str, Any]]:
        """The completions of an answer in the order in which they were asked for."""
        try:
            choices: list[dict[str, Any]] = sorted(answer["choices"], key=lambda c: c["index"])
        except _MALFORMED:
            self._client.refuse("answered with something else than completions")
        if [choice["index"] for choice in choices] != list(range(count)):
            self._client.refuse(f"answered with {len(choices):,} completions of {count:,}")
        return choices

    def _samples(self, draws: Sequence[Draw]) -> list[list[str]]:
        bodies = [
            {
                "prompt": draw.ids,
                "n": draw.n,
                "seed": draw.seed,
                "max_tokens": draw.max_new_tokens,
                "temperature": draw.temperature,
                "top_p": draw.top_p,
                # A server takes what it is not told from the model's generation_config.json,
                # which would not be the policy's distribution.
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "add_special_tokens": False,
            }
            for draw in draws
        ]
        answers = self._client.post_all("/completions", bodies)
        return [
            [str(choice.get("text", "")).strip() for choice in self._choices(answer, draw.n)]
            for draw, answer in zip(draws, answers, strict=True)
        ]


class ServerReward(SequenceReward):
    """The reward model on a server: the classifier's logit, its activation switched off."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self._client = Client(config, "reward")
        limit = self._client.card().get("max_model_len")
        self.max_length = min(self.max_length, limit) if limit else self.max_length

    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        batches = _batches([len(row) for row in rows], self.config.batch_tokens)
        bodies = [
            {
                "input": [rows[i] for i in batch],
                "use_activation": False,
                "add_special_tokens": False,
            }
            for batch in batches
        ]
        scores = [math.nan] * len(rows)
        answers = self._client.post_all("//classify", bodies)
        for batch, answer in zip(batches, answers, strict=True):
            values = self._values(answer, [len(rows[i]) for i in batch])
            for i, value in zip(batch, values, strict=True):
                scores[i] = value
        return scores

    def _values(self, answer: Any, lengths: list[int]) -> list[float]:
        """One logit per conversation, in the order in which they were sent."""
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            found = [[float(value) for value in item["probs"]] for item in items]
            read = int(answer["usage"]["prompt_tokens"])
        except _MALFORMED:
            self._client.refuse("answered with something else than scores")
        if [len(values) for values in found] != [1] * len(lengths):
            self._client.refuse(
                f"did not answer with one score for each of {len(lengths):,} conversations"
            )
        if read != sum(lengths):
            self._client.refuse(
                f"read {read:,} tokens where {sum(lengths):,} were sent: it truncates, or adds "
                "tokens of its own; switch that off"
            )
        return [value for (value,) in found]


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    return list(packed(lengths, batch_tokens))


def _nats(item: dict[str, Any]) -> float:
    value = float(item["logprob"])
    return -math.inf if value <= _RULED_OUT else value
