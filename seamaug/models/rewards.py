"""Raw rewards of texts, whatever their number and length."""

import math
from collections.abc import Sequence

import numpy as np

from seamaug.errors import ModelError
from seamaug.models.engines import RewardEngine, VotingEngine
from seamaug.records import Message

Cases = Sequence[tuple[list[Message], Sequence[str]]]
"""Prompts with responses."""


def raw_rewards(engine: RewardEngine, cases: Cases) -> list[list[float]]:
    """The score of each response to its prompt.

    NaN for a conversation that is too long for the model or that its template refuses.
    """
    return [own[:, 0].tolist() for own in raw_votes(engine, cases)]


def raw_votes(engine: RewardEngine, cases: Cases) -> list[np.ndarray]:
    """All scores of each response, M of them: (responses, M) per case. Else as `raw_rewards`."""
    sets = [_fitting(engine, prompt, texts) for prompt, texts in cases]
    asked = [[row for row in rows if row is not None] for rows in sets]
    found = []
    for rows, votes in zip(sets, votes_of_sets(engine, asked), strict=True):
        own = np.full((len(rows), votes.shape[1]), math.nan)
        own[[row is not None for row in rows]] = votes
        found.append(own)
    return found


def reward_problem(
    engine: RewardEngine, prompt: list[Message], texts: Sequence[str], scores: Sequence[float]
) -> str:
    """What is amiss with rewards: a response that does not fit, or no number; empty if nothing."""
    for number, (text, score) in enumerate(zip(texts, scores, strict=True), 1):
        if math.isfinite(score):
            continue
        try:
            length = len(engine.conversation_ids(prompt, [text])[0])
        except ModelError as error:
            return str(error)
        if length > engine.max_length:
            return f"too long: {length:,} tokens, limit {engine.max_length:,}"
        return f"returned {score} for response {number} of {len(texts)}"
    return ""


def votes_of_sets(engine: RewardEngine, asked: Sequence[Sequence[list[int]]]) -> list[np.ndarray]:
    """All scores of conversations as token ids: one where the engine has no votes."""
    if isinstance(engine, VotingEngine):
        return engine.votes(asked)
    return [np.array(own, float).reshape(-1, 1) for own in engine.rewards(asked)]


def _fitting(
    engine: RewardEngine, prompt: list[Message], texts: Sequence[str]
) -> list[list[int] | None]:
    try:
        rows = engine.conversation_ids(prompt, texts)
    except ModelError:  # one conversation that a template refuses is no one else's
        return [None for _ in texts]
    return [row if len(row) <= engine.max_length else None for row in rows]
