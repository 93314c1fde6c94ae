"""Raw rewards of texts, whatever their number and length."""

import math
from collections.abc import Sequence

from seamaug.models.engines import RewardEngine
from seamaug.records import Message


def raw_rewards(
    engine: RewardEngine, cases: Sequence[tuple[list[Message], Sequence[str]]]
) -> list[list[float]]:
    """The score of each response to its prompt; NaN for a conversation too long for the model."""
    sets = [engine.conversation_ids(prompt, texts) for prompt, texts in cases]
    fitting = [[row for row in rows if len(row) <= engine.max_length] for rows in sets]
    found = []
    for rows, scores in zip(sets, engine.rewards(fitting), strict=True):
        values = iter(scores)
        found.append([next(values) if len(row) <= engine.max_length else math.nan for row in rows])
    return found
