"""What engines that read one whole sequence of token ids at a time have in common."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamaug.clock import clock
from seamaug.config import PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.engines import Logprob
from seamaug.models.tokens import PolicyTokens, RewardTokens
from seamaug.records import Message


@dataclass(frozen=True, slots=True)
class Draw:
    """What to sample after one prompt: `n` continuations, decided by `seed`."""

    ids: list[int]
    n: int
    seed: int
    max_new_tokens: int
    temperature: float
    top_p: float


class SequencePolicy(PolicyTokens, ABC):
    """A policy whose engine scores a prompt and one response as one row of token ids.

    `max_length` is a token shorter than the engine's own limit: vLLM always generates one.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        self.config = config

    def logprobs(
        self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]
    ) -> list[list[Logprob]]:
        """Log-probability of every response, from (prompt ids, ids of its responses) sets.

        The engine is asked about token ids and answers for each of them, so nothing can move
        across the boundary of prompt and response. A response without tokens is 0 nats.
        Sequences longer than `max_length` are the caller's to leave out.
        """
        rows = [(prompt, ids) for prompt, responses in sets for ids in responses if ids]
        totals = iter(self._totals(rows))
        return [
            [Logprob(next(totals) if ids else 0.0, len(ids)) for ids in responses]
            for _, responses in sets
        ]

    def sample(
        self,
        prompts: Sequence[list[Message]],
        *,
        n: int,
        seed: int,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> list[list[str]]:
        """`n` sampled responses to each prompt.

        Empty lists where the prompt leaves no room or the template refuses it.

        The same prompts and seed give the same texts, as far as the engine's arithmetic does not
        depend on what it computes at the same time.
        """
        rows = self.with_room(prompts, max_new_tokens)
        draws = [
            Draw(ids, n, _seed(seed, i), max_new_tokens, temperature, top_p)
            for i, ids in rows.items()
        ]
        answers: list[list[str]] = [[] for _ in prompts]
        with clock.kind("generation"):
            for i, texts in zip(rows, self._samples(draws), strict=True):
                answers[i] = texts
        return answers

    @abstractmethod
    def _totals(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Nats of each response given its prompt; no response is empty."""

    @abstractmethod
    def _samples(self, draws: Sequence[Draw]) -> list[list[str]]:
        """Texts of each draw."""


class SequenceReward(RewardTokens, ABC):
    """A reward model whose engine scores one conversation at a time."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self.config = config
        self._pad: int | None = self.model_config.get_text_config().pad_token_id

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation, given as token ids in sets that share a prompt."""
        rows = [self._up_to_the_score(row) for group in sets for row in group]
        scores: Iterator[float] = iter(self._scores(rows))
        return [[next(scores) for _ in group] for group in sets]

    def _up_to_the_score(self, row: list[int]) -> list[int]:
        """A conversation without the padding ids at its end.

        A causal model's score is that of the last token which is not padding, and many models pad
        with the token that ends each turn; vLLM takes the last token, whichever it is.
        """
        end = len(row)
        while end > 1 and row[end - 1] == self._pad:
            end -= 1
        return row[:end]

    @abstractmethod
    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        """Raw score of each conversation."""


def response_total(
    prompt: list[int], response: list[int], found: Sequence[Any], *, engine: str
) -> float:
    """Sum over a response's tokens of what an engine says of each position.

    found: per token of prompt and response a mapping from token id to log-probability in nats;
    None at the first, which nothing precedes.
    Raises ModelError, naming the engine, unless there is exactly one for each token.
    """
    if len(found) != len(prompt) + len(response):
        raise ModelError(
            f"{engine} read {len(found):,} tokens where {len(prompt) + len(response):,} "
            "were sent: it truncates, or adds tokens of its own; switch that off"
        )
    total = 0.0
    for token, position in zip(response, found[len(prompt) :], strict=True):
        if not isinstance(position, Mapping) or token not in position:
            raise ModelError(f"{engine} returned no log-probability for a token that was sent")
        if position[token] > _ROUNDING:
            raise ModelError(
                f"{engine} returned {position[token]:g} as a log-probability; let it "
                "return log-probabilities (--logprobs-mode raw_logprobs), not logits"
            )
        total += position[token]
    return total


_ROUNDING = 1e-3  # nats by which a certain token may come out above 0


def _seed(seed: int, position: int) -> int:
    """A seed for each prompt: with one for all, equal prompts would get equal samples.

    Far apart, because engines count upwards from it for the samples of one prompt.
    """
    digest = hashlib.blake2b(f"{seed} {position}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
