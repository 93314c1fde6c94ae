"""The LLM that writes variants and worse responses."""

from collections.abc import Sequence

from seamaug.config import GeneratorConfig
from seamaug.models.policy import CausalLM
from seamaug.records import Message


class Generator:
    """An instruction-tuned causal model through transformers."""

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config
        self._lm = CausalLM(config, "generator")

    def write(
        self,
        requests: Sequence[list[Message]],
        *,
        seed: int,
        answers: int = 1,
        temperature: float | None = None,
    ) -> list[str]:
        """One reply to each request; empty where the request is too long for the model.

        A reply that is to hold several `answers` may have `max_new_tokens` for each, as far as half
        of what the model can read. `temperature` takes the place of the configured one.
        """
        own = self.config.max_new_tokens
        room = max(own, min(answers * own, self._lm.max_length // 2))
        replies = self._lm.sample(
            requests,
            n=1,
            seed=seed,
            max_new_tokens=room,
            temperature=self.config.temperature if temperature is None else temperature,
            top_p=self.config.top_p,
        )
        return [texts[0] if texts else "" for texts in replies]
