"""The reward model: a score for a prompt with its response."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from seamaug.config import RewardConfig
from seamaug.models.batching import (
    Continuation,
    packed,
    right_padded,
    shared_prefix_batches,
    shares_prefixes,
)
from seamaug.models.loading import (
    device_of,
    load_model,
)
from seamaug.models.tokens import RewardTokens


class RewardModel(RewardTokens):
    """A sequence classifier with one label over whole chat-templated conversations.

    Scores are the model's raw logits: no sigmoid, in units that only this model knows.
    """

    @torch.inference_mode()
    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self.config = config
        self.model = load_model(AutoModelForSequenceClassification, config, "reward")
        self.device = device_of(config)
        self._pad: int | None = self.model.config.get_text_config().pad_token_id
        self._shares = shares_prefixes(self.model.base_model, self.max_length)

    @torch.inference_mode()
    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation, given as token ids in sets that share a prompt.

        A causal backbone reads what the conversations of a set begin with once.
        """
        rows = [(i, row) for i, group in enumerate(sets) for row in group]
        prefixes = [_common_prefix(group, self._pad) for group in sets]
        scores: list[float] = [0.0] * len(rows)
        if self._shares and all(prefixes[i] for i, _ in rows):
            batches = shared_prefix_batches(
                self.model.base_model,
                prefixes,
                [Continuation(i, row[len(prefixes[i]) :]) for i, row in rows],
                batch_tokens=self.config.batch_tokens,
                pad=self._pad_id,
            )
        else:
            batches = self._plain_batches([row for _, row in rows])
        for positions, arguments in batches:
            logits = self.model(**arguments).logits.float().squeeze(-1).cpu()
            for position, value in zip(positions, logits, strict=True):
                scores[position] = float(value)
        values = iter(scores)
        return [[next(values) for _ in group] for group in sets]

    def _plain_batches(self, rows: list[list[int]]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        for positions in packed([len(row) for row in rows], self.config.batch_tokens):
            members = [rows[p] for p in positions]
            ids, mask = right_padded(members, self._pad_id(members))
            yield (
                positions,
                {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)},
            )

    def _pad_id(self, rows: list[list[int]]) -> int:
        """The model's padding id, or for a model without one an id that no row uses.

        Causal backbones read the score at the last token that is not padding, so an id which
        occurs in the text would move it.
        """
        if self._pad is not None:
            return self._pad
        used = {token for row in rows for token in row}
        free = next(
            i
            for i in range(self.model.config.get_text_config().vocab_size - 1, -1, -1)
            if i not in used
        )
        self.model.config.pad_token_id = self.model.config.get_text_config().pad_token_id = free
        return free


def _common_prefix(rows: Sequence[list[int]], pad: int | None) -> list[int]:
    """Token ids that all rows begin with; the token that is scored is left to each row.

    That is its last one which is not `pad`: many models pad with the token that ends each turn.
    """
    if not rows:
        return []
    low, high = min(rows), max(rows)
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    scored = (max((i for i, token in enumerate(row) if token != pad), default=0) for row in rows)
    return low[: min(shared, *scored)]
