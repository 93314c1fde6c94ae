"""The policy model: log-probabilities of responses, and samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, PolicyConfig
from seamaug.models.batching import packed, right_padded
from seamaug.models.loading import (
    device_of,
    load_model,
    load_tokenizer,
    longest_sequence,
    render,
)
from seamaug.records import Message

_LOGIT_BYTES = 8 << 20  # of float32 logits alive at once: larger chunks fall out of the cache


@dataclass(frozen=True, slots=True)
class Logprob:
    """Log-probability of a response given its prompt: a sum in nats over `tokens` tokens."""

    total: float
    tokens: int


class CausalLM:
    """A causal language model with its tokenizer and chat template."""

    def __init__(self, config: LanguageModelConfig, role: str) -> None:
        self.config = config
        self.tokenizer = load_tokenizer(config, role)
        self.model = load_model(AutoModelForCausalLM, config, role)
        self.device = device_of(config)
        self.max_length = longest_sequence(config, self.model, self.tokenizer)
        eos = self.tokenizer.eos_token_id
        # Padding is masked out, so any id serves a model that names none (GPT-2, Llama).
        self.pad_id = next((i for i in (self.tokenizer.pad_token_id, eos) if i is not None), 0)

    def prompt_ids(self, prompt: list[Message]) -> list[int]:
        """Token ids of a prompt up to where the response begins; the template is applied once."""
        text = render(self.tokenizer, prompt, generation_prompt=True)
        with clock.kind("tokenizer"):
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
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
        """`n` sampled responses to each prompt; empty lists where the prompt leaves no room.

        The same prompts, seed and hardware give the same texts.
        """
        rows = [self.prompt_ids(prompt) for prompt in prompts]
        fits = [i for i, row in enumerate(rows) if len(row) + max_new_tokens <= self.max_length]
        lengths = [(len(rows[i]) + max_new_tokens) * n for i in fits]
        answers: list[list[str]] = [[] for _ in prompts]
        for batch in packed(lengths, self.config.batch_tokens):
            members = [fits[position] for position in batch]
            texts = self._generate(
                [rows[i] for i in members], n, seed, max_new_tokens, temperature, top_p
            )
            for order, i in enumerate(members):
                answers[i] = texts[order * n : (order + 1) * n]
        return answers

    def _generate(
        self,
        rows: list[list[int]],
        n: int,
        seed: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
    ) -> list[str]:
        # Generation continues the last column, so the padding goes to the left.
        ids, mask = (t.flip(1) for t in right_padded([row[::-1] for row in rows], self.pad_id))
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        try:
            with clock.kind("generation"):
                output = self.model.generate(
                    input_ids=ids.to(self.device),
                    attention_mask=mask.to(self.device),
                    do_sample=True,
                    num_return_sequences=n,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    top_p=top_p,
                    top_k=0,
                    pad_token_id=self.pad_id,
                )
        finally:
            torch.set_rng_state(state)
        new = output[:, ids.shape[1] :].cpu()
        with clock.kind("tokenizer"):
            texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]


class Policy(CausalLM):
    """The policy model as a scorer: log P(response | prompt) over token ids."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config, "policy")
        eos = self.tokenizer.eos_token_id
        self._end = [eos] if config.count_eos and eos is not None else []
        self._head = self._split_head()

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of responses as they follow a prompt, with the end token where it counts."""
        if not texts:
            return []
        with clock.kind("tokenizer"):
            rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [row + self._end for row in rows]

    def logprobs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Logprob]:
        """Log-probability of each response, from (prompt ids, response ids) pairs.

        Token ids, not text, cross the boundary: re-tokenising prompt + response as one text can
        merge tokens across it. The reduction over the vocabulary is in float32, in chunks, so no
        tensor of tokens x vocabulary is kept. Pairs longer than `max_length` are the caller's
        to leave out.
        """
        results = [Logprob(0.0, 0)] * len(pairs)
        lengths = [len(prompt) + len(response) for prompt, response in pairs]
        for batch in packed(lengths, self.config.batch_tokens):
            with clock.kind("policy"):
                totals = self._batch_logprobs([pairs[i] for i in batch])
            for i, total in zip(batch, totals, strict=True):
                results[i] = Logprob(total, len(pairs[i][1]))
        return results

    @torch.inference_mode()
    def _batch_logprobs(self, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
        ids, _ = right_padded([prompt + response for prompt, response in pairs], self.pad_id)
        rows = torch.cat([torch.full((len(r),), i) for i, (_, r) in enumerate(pairs)])
        columns = torch.cat([torch.arange(len(p), len(p) + len(r)) for p, r in pairs])
        targets = ids[rows, columns].to(self.device)
        totals = torch.zeros(len(pairs), dtype=torch.float32, device=self.device)
        if len(rows):
            # The token at a column is predicted at the column before it. Attention is causal and
            # the padding is on the right, so no mask is needed.
            hidden = self._hidden(ids.to(self.device), rows, columns - 1)
            step = max(16, _LOGIT_BYTES // (4 * self.model.config.get_text_config().vocab_size))
            parts = [
                self._token_logprobs(hidden[i : i + step], targets[i : i + step])
                for i in range(0, len(rows), step)
            ]
            totals.index_add_(0, rows.to(self.device), torch.cat(parts))
        return [float(total) for total in totals.cpu()]

    def _hidden(self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """What the head turns into logits, at the given positions: (positions, width)."""
        if self._head is None:
            output = self.model(input_ids=ids, use_cache=False).logits
        else:
            output = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return output[rows.to(self.device), columns.to(self.device)]  # type: ignore[no-any-return]

    def _token_logprobs(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = (hidden if self._head is None else self._head(hidden)).float()
        return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    @torch.inference_mode()
    def _split_head(self) -> Any:
        """The output projection, if body + projection equal the whole model; else None.

        Some models scale or cap their logits after the projection (Gemma 2, Cohere). A short
        probe tells them apart, with no list of names; they keep their full forward pass.
        """
        head = self.model.get_output_embeddings()
        probe = (
            torch.arange(8, device=self.device)[None]
            % self.model.config.get_text_config().vocab_size
        )
        whole = self.model(input_ids=probe, use_cache=False).logits.float()
        body = self.model.base_model(input_ids=probe, use_cache=False)
        if head is None or not hasattr(body, "last_hidden_state"):
            return None
        split = head(body.last_hidden_state).float()
        return head if torch.allclose(split, whole, rtol=1e-3, atol=1e-3) else None
