"""Between text and token ids: the half of a model that every engine shares."""

from collections.abc import Sequence
from typing import Any

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.engines import too_long
from seamaug.models.literal import LiteralText
from seamaug.models.loading import load_model_config, load_tokenizer, longest_sequence, render
from seamaug.records import Message

VOTES = "reward_heads"
"""Attribute of an ensemble's config.json."""


class _Tokens:
    """A tokenizer with its chat template, and the longest sequence that its model takes.

    Only the template writes control tokens: those in a prompt or a response are read as text.
    """

    def __init__(self, config: LanguageModelConfig, role: str) -> None:
        self.model_config = load_model_config(config, role)
        self.tokenizer = load_tokenizer(config, role)
        self.max_length: int = longest_sequence(config, self.model_config, self.tokenizer)
        self._literal = LiteralText(self.tokenizer)

    def _rendered(self, messages: list[Message], *, generation_prompt: bool) -> str:
        ready = [self._literal.message(message) for message in messages]
        return render(self.tokenizer, ready, generation_prompt=generation_prompt)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        with clock.kind("tokenizer"):
            rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            return [self._literal.ids(text, row) for text, row in zip(texts, rows, strict=True)]


class PromptTokens(_Tokens):
    """Prompts of a causal language model as token ids."""

    def prompt_ids(self, prompt: list[Message]) -> list[int]:
        """Token ids of a prompt up to where the response begins; the template is applied once."""
        return self._ids([self._rendered(prompt, generation_prompt=True)])[0]

    def with_room(
        self, prompts: Sequence[list[Message]], max_new_tokens: int
    ) -> dict[int, list[int]]:
        """Token ids, by position, of the prompts that leave room for so many tokens more."""
        return self.fitting(prompts, max_new_tokens)[0]

    def fitting(
        self, prompts: Sequence[list[Message]], max_new_tokens: int
    ) -> tuple[dict[int, list[int]], dict[int, str]]:
        """Token ids, by position, of the prompts that leave such room; why the others do not."""
        found, refused = {}, {}
        for position, prompt in enumerate(prompts):
            try:
                ids = self.prompt_ids(prompt)
            except ModelError as error:  # a conversation that a template refuses is no one else's
                refused[position] = str(error)
                continue
            if reason := too_long(len(ids), max_new_tokens, self.max_length):
                refused[position] = reason
            elif not ids:
                refused[position] = "the chat template makes nothing of the prompt"
            else:
                found[position] = ids
        return found, refused

    def decode(self, rows: Any) -> list[str]:
        """Texts of generated token ids, without special tokens and surrounding space."""
        with clock.kind("tokenizer"):
            texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [text.strip() for text in texts]


class PolicyTokens(PromptTokens):
    """Prompts and responses of a policy as token ids."""

    def __init__(self, config: PolicyConfig, role: str = "policy") -> None:
        super().__init__(config, role)
        eos = self.tokenizer.eos_token_id
        self._end = [eos] if config.count_eos and eos is not None else []

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of responses as they follow a prompt, with the end token where it counts."""
        ready = [self._literal.response(text) for text in texts]
        return [row + self._end for row in self._ids(ready)] if texts else []


class ConversationTokens(_Tokens):
    """Whole conversations as token ids, as reward models are trained on."""

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        """Token ids of the prompt with each response."""
        if not responses:
            return []
        return self._ids(
            [
                self._rendered(
                    [*prompt, {"role": "assistant", "content": response}],
                    generation_prompt=False,
                )
                for response in responses
            ]
        )


class RewardTokens(ConversationTokens):
    """Conversations as a reward model reads them that is trained already."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config, "reward")
        self._name = config.name
        self._check_labels()

    def _check_labels(self) -> None:
        labels = self.model_config.num_labels
        if labels != 1:
            judge = votes_of(self.model_config) > 1
            raise ModelError(
                f"reward model {self._name!r} has {labels} labels; SEAM needs one score per "
                "response: give a sequence classifier that was trained with num_labels=1"
                + judge
                * " (an ensemble of `strength` can only be a judge, on transformers)"
            )


def votes_of(model_config: Any) -> int:
    """How many reward models a model's config says that it is: what `strength` trains says so, so
    that a classifier of several classes does not pass for an ensemble."""
    return int(getattr(model_config, VOTES, 1))
