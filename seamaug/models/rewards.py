"""Raw rewards of texts, whatever their number and length."""

import math
from collections.abc import Sequence

from seamaug.errors import ModelError
from seamaug.models.engines import RewardEngine
from seamaug.records import Message


def raw_rewards(
    engine: RewardEngine, cases: Sequence[tuple[list[Message], Sequence[str]]]
) -> list[list[float]]:
    """The score of each response to its prompt.

    NaN for a conversation that is too long for the model or that its template refuses.
    """
    sets = [_fitting(engine, prompt, texts) for prompt, texts in cases]
    asked = [[row for row in rows if row is not None] for rows in sets]
    found = []
    for rows, scores in zip(sets, engine.rewards(asked), strict=True):
        values = iter(scores)
        found.append([math.nan if row is None else next(values) for row in rows])
    return found


def _fitting(
    engine: RewardEngine, prompt: list[Message], texts: Sequence[str]
) -> list[list[int] | None]:
    try:
        rows = engine.conversation_ids(prompt, texts)
    except ModelError:  # one conversation that a template refuses is no one else's
        return [None for _ in texts]
    return [row if len(row) <= engine.max_length else None for row in rows]
