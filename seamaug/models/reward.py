"""The reward model: a score for a prompt with its response."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from seamaug.config import RewardConfig
from seamaug.models.batching import longest_first, right_padded, rows_within
from seamaug.models.budget import TokenBudget
from seamaug.models.loading import device_of, load_model
from seamaug.models.probes import depends_on_longest
from seamaug.models.shared import Place, SharedPrompts
from seamaug.models.tokens import RewardTokens

Features = Callable[[], torch.Tensor]
"""Gives what the last layer made some scores of, shape (rows, width)."""
_Keep = Callable[[Sequence[Place], torch.Tensor, Features], None]


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
        text_config = self.model.config.get_text_config()
        self._pad: int | None = text_config.pad_token_id
        # CANINE has no vocabulary: it reads characters.
        self._vocabulary: int = getattr(text_config, "vocab_size", 128)
        self._head = self._split_head()
        self._last = self._head or self._last_layer()
        self._alike = self._padding_shows()
        self._shared = SharedPrompts(self.model.base_model, self._budget)

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of the linear layer that a score comes from, float32, shape (width,).

        None where the model ends otherwise. A score is their product with its features, and a
        constant.
        """
        return None if self._last is None else self._last.weight[0].float().numpy(force=True)

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation, given as token ids in sets that share a prompt.

        A causal backbone reads what the conversations of a set begin with once.
        """
        return [own[:, 0].tolist() for own in self.votes(sets)]

    def votes(self, sets: Sequence[Sequence[list[int]]]) -> list[np.ndarray]:
        """As `rewards`, with every score that the model has: (rows, M) per set, float64."""
        scores = [np.zeros((len(rows), self.model.config.num_labels)) for rows in sets]

        def keep(places: Sequence[Place], values: torch.Tensor, _features: Features) -> None:
            for (i, k), own in zip(places, values.float().numpy(force=True), strict=True):
                scores[i][k] = own

        self._read(sets, keep)
        return scores

    def rewards_and_features(
        self, sets: Sequence[Sequence[list[int]]]
    ) -> tuple[list[list[float]], list[np.ndarray]]:
        """As `rewards`, and what the last layer makes the scores of.

        Features are one float32 array (rows, width) per set. Only for a model with `weights`.
        """
        assert self._last is not None, "the model has no linear last layer"
        scores = [[0.0] * len(rows) for rows in sets]
        found = [np.zeros((len(rows), self._last.in_features), np.float32) for rows in sets]

        def keep(places: Sequence[Place], values: torch.Tensor, features: Features) -> None:
            rows = features().float().numpy(force=True)
            known = values.float().flatten().tolist()
            for (i, k), value, row in zip(places, known, rows, strict=True):
                scores[i][k], found[i][k] = value, row

        self._read(sets, keep)
        return scores, found

    @torch.inference_mode()
    def _read(self, sets: Sequence[Sequence[list[int]]], keep: _Keep) -> None:
        prefixes = [_common_prefix(rows, self._pad) for rows in sets]
        longest = max((len(row) for rows in sets for row in rows), default=0)
        alike = all(prefix for prefix, rows in zip(prefixes, sets, strict=True) if rows)
        sharing = self._head is not None and alike and longest <= self._shared.longest
        if not (sharing and self._read_shared(sets, prefixes, keep)):
            self._read_padded(sets, keep)

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
            features = states[torch.stack(ends).to(self.device)]
            keep(places, self._score(features), lambda: features)

        return self._shared.read(inputs, take)

    def _read_padded(self, sets: Sequence[Sequence[list[int]]], keep: _Keep) -> None:
        """Whole conversations in padded rows: encoders, and heads of their own kind."""
        found = [(i, k) for i, rows in enumerate(sets) for k in range(len(rows))]
        places = [found[p] for p in longest_first([len(sets[i][k]) for i, k in found])]

        def take(rest: Sequence[Place], tokens: int) -> tuple[int, int]:
            return rows_within([len(sets[i][k]) for i, k in rest], tokens, alike=self._alike)

        def work(batch: Sequence[Place]) -> None:
            rows = [sets[i][k] for i, k in batch]
            with _inputs_of(self._last) as seen:
                scores = self._padded_scores(rows)
            keep(batch, scores, lambda: self._at_the_end(seen[-1], rows))

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

    def _at_the_end(self, states: torch.Tensor, rows: Sequence[list[int]]) -> torch.Tensor:
        """Of the last layer's inputs those that the scores were read from: (rows, width)."""
        if states.dim() == 2:
            return states
        ends = [_scored(row, self._pad) for row in rows]
        return states[torch.arange(len(rows)), ends]

    def _last_layer(self) -> Any:
        """The linear layer whose one output is the score, where a short probe confirms it."""
        row = [i % self._vocabulary for i in range(4, 12) if i % self._vocabulary != self._pad]
        layers = [
            layer
            for layer in self.model.modules()
            if isinstance(layer, torch.nn.Linear) and layer.out_features == 1
        ]
        for layer in layers:
            with _inputs_of(layer) as seen:
                score = self._padded_scores([row])
            if seen and torch.equal(layer(self._at_the_end(seen[-1], [row])), score):
                return layer
        return None

    def _padding_shows(self) -> bool:
        """Whether a score depends on the padding beside its row, masked or not (FNet, XLNet)."""
        if depends_on_longest(self.model.config.get_text_config()):
            return True
        rows = [[(7 * i + 3) % self._vocabulary for i in range(n)] for n in (12, 7)]
        alone, beside = self._padded_scores(rows[1:])[0], self._padded_scores(rows)[1]
        tolerance = 1e-4 if self.model.dtype == torch.float32 else 0.05
        return not torch.allclose(alone.float(), beside.float(), rtol=tolerance, atol=tolerance)

    def _split_head(self) -> Any:
        """The layer from the last token's state to the score, where a short probe confirms it."""
        head = getattr(self.model, "score", None)
        if not isinstance(head, torch.nn.Linear):
            return None
        row = [i % self._vocabulary for i in range(4, 12) if i % self._vocabulary != self._pad]
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


class RewardHeads(RewardModel):
    """Several last layers on one backbone, as `strength` trains them: a vote each."""

    def _check_labels(self) -> None:
        """It has as many as votes."""


@contextmanager
def _inputs_of(layer: Any) -> Iterator[list[torch.Tensor]]:
    """What the layer, if there is one, is called on while the block runs."""
    seen: list[torch.Tensor] = []
    if layer is None:
        yield seen
        return
    hook = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


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
