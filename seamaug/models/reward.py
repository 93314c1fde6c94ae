"""The reward model: a score for a prompt with its response."""

from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from seamaug.clock import clock
from seamaug.config import RewardConfig
from seamaug.errors import ModelError
from seamaug.models.batching import packed, right_padded
from seamaug.models.loading import (
    device_of,
    load_model,
    load_tokenizer,
    locate,
    longest_sequence,
    render,
)
from seamaug.records import Message


class RewardModel:
    """A sequence classifier with one label over whole chat-templated conversations.

    Scores are the model's raw logits: no sigmoid, in units that only this model knows.
    """

    def __init__(self, config: RewardConfig) -> None:
        self.config = config
        self._check_labels()
        self.tokenizer = load_tokenizer(config, "reward")
        self.model = load_model(AutoModelForSequenceClassification, config, "reward")
        self.device = device_of(config)
        self.max_length = longest_sequence(config, self.model, self.tokenizer)

    def _check_labels(self) -> None:
        path = locate(self.config, "reward")
        try:
            labels = AutoConfig.from_pretrained(
                path,
                revision=self.config.revision,
                trust_remote_code=self.config.trust_remote_code,
            ).num_labels
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"reward model {self.config.name!r} cannot be loaded: {error}"
            ) from None
        if labels != 1:
            raise ModelError(
                f"reward model {self.config.name!r} has {labels} labels; SEAM needs one score per "
                "response: give a sequence classifier that was trained with num_labels=1"
            )

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        """Token ids of each whole conversation, as reward models are trained on."""
        texts = [
            render(
                self.tokenizer,
                [*prompt, {"role": "assistant", "content": response}],
                generation_prompt=False,
            )
            for response in responses
        ]
        with clock.kind("tokenizer"):
            ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    def rewards(self, rows: Sequence[list[int]]) -> list[float]:
        """Raw score of each conversation, given as token ids."""
        scores = [0.0] * len(rows)
        for batch in packed([len(row) for row in rows], self.config.batch_tokens):
            with clock.kind("reward"):
                values = self._batch_rewards([rows[i] for i in batch])
            for i, value in zip(batch, values, strict=True):
                scores[i] = value
        return scores

    @torch.inference_mode()
    def _batch_rewards(self, rows: list[list[int]]) -> list[float]:
        ids, mask = right_padded(rows, self._pad_id(rows))
        logits = self.model(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
        ).logits
        return [float(value) for value in logits.float().squeeze(-1).cpu()]

    def _pad_id(self, rows: list[list[int]]) -> int:
        """The model's padding id, or for a model without one an id that no row uses.

        Causal backbones read the score at the last token that is not padding, so an id which
        occurs in the text would move it.
        """
        configured = self.model.config.get_text_config().pad_token_id
        if configured is not None and not getattr(self, "_lent_pad", False):
            return int(configured)
        used = {token for row in rows for token in row}
        free = next(
            i
            for i in range(self.model.config.get_text_config().vocab_size - 1, -1, -1)
            if i not in used
        )
        self._lent_pad = True
        self.model.config.pad_token_id = self.model.config.get_text_config().pad_token_id = free
        return free
