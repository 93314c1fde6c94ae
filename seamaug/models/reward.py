"""The reward model: a score for a prompt with its response."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from seamaug.config import RewardConfig
from seamaug.models.batching import longest_first, right_padded, rows_within
from seamaug.models.budget import TokenBudget
from seamaug.models.loading import device_of, load_model
from seamaug.models.probes import depends_on_longest
from seamaug.models.shared import Place, SharedPrompts
from seamaug.models.tokens import RewardTokens

_Keep = Callable[[Sequence[Place], torch.Tensor], None]


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
        self._budget = TokenBudget(config.batch_tokens, "reward")
        self._pad: int | None = self.model.config.get_text_config().pad_token_id
        self._head = self._split_head()
        self._alike = self._padding_shows()
        self._shared = SharedPrompts(self.model.base_model, self._budget)

    @torch.inference_mode()
    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation, given as token ids in sets that share a prompt.

        A causal backbone reads what the conversations of a set begin with once.
        """
        scores = [[0.0] * len(rows) for rows in sets]

        def keep(places: Sequence[Place], values: torch.Tensor) -> None:
            for (i, k), value in zip(places, values.float().flatten().tolist(), strict=True):
                scores[i][k] = value

        prefixes = [_common_prefix(rows, self._pad) for rows in sets]
        longest = max((len(row) for rows in sets for row in rows), default=0)
        alike = all(prefix for prefix, rows in zip(prefixes, sets, strict=True) if rows)
        sharing = self._head is not None and alike and longest <= self._shared.longest
        if not (sharing and self._read_shared(sets, prefixes, keep)):
            self._read_padded(sets, keep)
        return scores

    def _read_shared(
        self, sets: Sequence[Sequence[list[int]]], prefixes: list[list[int]], keep: _Keep
    ) -> bool:
        inputs = [
            (prefix, [row[len(prefix) :] for row in rows])
            for prefix, rows in zip(prefixes, sets, strict=True)
        ]

        def take(
            places: Sequence[Place], states: torch.Tensor, positions: list[torch.Tensor]
        ) -> None:
            ends = [
                positions[order][_scored(sets[i][k], self._pad) - len(prefixes[i]) + 1]
                for order, (i, k) in enumerate(places)
            ]
            keep(places, self._score(states[torch.stack(ends).to(self.device)]))

        return self._shared.read(inputs, take)

    def _read_padded(self, sets: Sequence[Sequence[list[int]]], keep: _Keep) -> None:
        """Whole conversations in padded rows: encoders, and heads of their own kind."""
        found = [(i, k) for i, rows in enumerate(sets) for k in range(len(rows))]
        places = [found[p] for p in longest_first([len(sets[i][k]) for i, k in found])]

        def take(rest: Sequence[Place], tokens: int) -> tuple[int, int]:
            return rows_within([len(sets[i][k]) for i, k in rest], tokens, alike=self._alike)

        def work(batch: Sequence[Place]) -> None:
            keep(batch, self._padded_scores([sets[i][k] for i, k in batch]))

        self._budget.run(places, take, work)

    def _score(self, states: torch.Tensor) -> torch.Tensor:
        """In float32: in bfloat16 many scores would tie."""
        head = self._head
        bias = None if head.bias is None else head.bias.float()
        return torch.nn.functional.linear(states.float(), head.weight.float(), bias)

    def _padded_scores(self, rows: list[list[int]]) -> torch.Tensor:
        ids, mask = right_padded(rows, self._pad_id(rows))
        inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        scores: torch.Tensor = self.model(**inputs).logits
        return scores

    def _padding_shows(self) -> bool:
        """Whether a score depends on the padding beside its row, masked or not (FNet, XLNet)."""
        if depends_on_longest(self.model.config.get_text_config()):
            return True
        # CANINE has no vocabulary: it reads characters.
        vocabulary = getattr(self.model.config.get_text_config(), "vocab_size", 128)
        rows = [[(7 * i + 3) % vocabulary for i in range(n)] for n in (12, 7)]
        alone, beside = self._padded_scores(rows[1:])[0], self._padded_scores(rows)[1]
        tolerance = 1e-4 if self.model.dtype == torch.float32 else 0.05
        return not torch.allclose(alone.float(), beside.float(), rtol=tolerance, atol=tolerance)

    def _split_head(self) -> Any:
        """The layer from the last token's state to the score, where a short probe confirms it."""
        head = getattr(self.model, "score", None)
        if not isinstance(head, torch.nn.Linear):
            return None
        vocabulary = self.model.config.get_text_config().vocab_size
        row = [i % vocabulary for i in range(4, 12) if i % vocabulary != self._pad]
        end = len(row) - 1
        row += [] if self._pad is None else [self._pad]  # a score is read before it, as we do
        ids = torch.tensor([row], device=self.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        body = self.model.base_model(**inputs)
        if not hasattr(body, "last_hidden_state"):
            return None
        tolerance = 1e-4 if self.model.dtype == torch.float32 else 0.05
        ours, whole = head(body.last_hidden_state[:, end]).float(), self.model(**inputs).logits
        return head if torch.allclose(ours, whole.float(), rtol=tolerance, atol=tolerance) else None

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
    """Token ids that all rows begin with; the token that is scored is left to each row."""
    if not rows:
        return []
    low, high = min(rows), max(rows)
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[: min(shared, *(_scored(row, pad) for row in rows))]


def _scored(row: list[int], pad: int | None) -> int:
    """Position of the last token that is not `pad`: many models pad with what ends each turn."""
    return max((i for i, token in enumerate(row) if token != pad), default=0)
