"""What the flow asks of policy, reward model and generator, whichever engine runs them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seamaug.records import Message, user_message

_TURN_TOKENS = 32
"""Tokens that a chat template may put around a turn."""


@dataclass(frozen=True, slots=True)
class Logprob:
    """Log-probability of a response given its prompt: a sum in nats over `tokens` tokens."""

    total: float
    tokens: int


class PolicyEngine(Protocol):
    """A policy that scores and samples responses.

    Token ids, not text, cross the boundary between prompt and response: re-tokenising both as one
    text can merge tokens across it.
    """

    max_length: int
    """Tokens that a prompt and its response may have together."""

    def prompt_ids(self, prompt: list[Message]) -> list[int]:
        """Token ids of a prompt up to where the response begins."""
        ...

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of responses as they follow a prompt, with the end token where it counts."""
        ...

    def logprobs(
        self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]
    ) -> list[list[Logprob]]:
        """Log-probability of every response, from (prompt ids, ids of its responses) sets.

        Sequences longer than `max_length` are the caller's to leave out.
        """
        ...

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
        """`n` sampled responses to each prompt; none where the prompt does not fit."""
        ...


class RewardEngine(Protocol):
    """A reward model with one score per conversation: raw, before any activation."""

    max_length: int
    """Tokens that a conversation may have."""

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        """Token ids of the prompt with each response."""
        ...

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation, given as token ids in sets that share a prompt."""
        ...


@runtime_checkable
class FeatureEngine(RewardEngine, Protocol):
    """A reward model that shows what its last layer makes the scores of."""

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of that layer, where it is linear: float32, shape (width,)."""
        ...

    def rewards_and_features(
        self, sets: Sequence[Sequence[list[int]]]
    ) -> tuple[list[list[float]], list[np.ndarray]]:
        """As `rewards`, and the features of every conversation: (rows, width) per set."""
        ...


@runtime_checkable
class VotingEngine(RewardEngine, Protocol):
    """A reward model that may have several scores, each a vote of its own."""

    def votes(self, sets: Sequence[Sequence[list[int]]]) -> list[np.ndarray]:
        """Raw scores of every conversation: (conversations, M) per set, float64."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What an LLM is asked to write."""

    operator: str
    """Whose work it is: tokens and cost are counted by operator."""
    messages: list[Message]
    seed: int
    """Decides what is sampled, as far as the engine lets it."""
    max_new_tokens: int
    temperature: float
    schema: dict[str, Any] | None = None
    """JSON schema of the reply, for an engine that can hold the model to one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an LLM wrote, or why it wrote nothing."""

    text: str = ""
    error: str = ""
    """Why there is no text, such as a prompt that is too long; empty where there is one."""
    cut: bool = False
    """The reply ended at `max_new_tokens`, not by itself."""
    prompt_tokens: int = 0
    new_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two responses an LLM finds better, or why it did not say."""

    better: str = ""
    """`first`, `second`, or empty for a tie."""
    error: str = ""
    """Why it was not judged at all: the request failed, or no reply to it could be read."""


def too_long(prompt: int, new: int, limit: int) -> str:
    """Why a prompt of so many tokens does not go in; empty if it does."""
    if prompt + new <= limit:
        return ""
    return f"prompt too long: {prompt:,} tokens and {new:,} for the reply, of {limit:,} at most"


def most_tokens(request: Request) -> int:
    """Tokens that a prompt cannot exceed: one for each byte, and the template's."""
    return sum(
        len(message["content"].encode("utf-8", "surrogatepass")) + _TURN_TOKENS
        for message in [*request.messages, *user_message("")]
    )


def always(requests: Sequence[Request]) -> bool:
    """No limit."""
    return True


@dataclass(frozen=True, slots=True)
class Leave:
    """What an engine may do of what it is asked."""

    begin: Callable[[Sequence[Request]], bool] = always
    """Whether these, the next ones, may be begun; asked in whichever thread begins them. Where it
    is false, no more are begun, and those have no reply."""
    deadline: float = math.inf
    """When a server's answers are waited for no longer, by `time.monotonic`; requests that are in
    flight then have no reply either."""


FREELY = Leave()
"""No limits."""


class GeneratorEngine(Protocol):
    """An LLM that answers requests, many at a time."""

    structured: bool
    """Whether it holds the model to a request's `schema`."""
    paid: bool
    """Whether a reply costs, so that none is asked for a second time."""
    mark: dict[str, Any]
    """What, beside a request, decides the reply: the model and its settings."""

    @property
    def max_length(self) -> int | None:
        """Tokens that a prompt and its reply may have together, where that is known."""
        ...

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, as they arrive; every position once.

        Raises ModelError where nothing can be had from the engine.
        """
        ...
