"""The policy model: log-probabilities of responses, and samples."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, PolicyConfig
from seamaug.models.batching import (
    Continuation,
    packed,
    right_padded,
    shared_prefix_batches,
    shares_prefixes,
)
from seamaug.models.engines import Logprob
from seamaug.models.loading import (
    device_of,
    load_model,
)
from seamaug.models.tokens import PolicyTokens, PromptTokens
from seamaug.records import Message

_LOGIT_BYTES = 8 << 20  # of float32 logits alive at once: larger chunks fall out of the cache


class CausalLM(PromptTokens):
    """A causal language model with its tokenizer and chat template."""

    def __init__(self, config: LanguageModelConfig, role: str) -> None:
        super().__init__(config, role)
        self.config = config
        self.model = load_model(AutoModelForCausalLM, config, role)
        self.device = device_of(config)
        eos = self.tokenizer.eos_token_id
        # Padding is masked out, so any id serves a model that names none (GPT-2, Llama).
        self.pad_id = next((i for i in (self.tokenizer.pad_token_id, eos) if i is not None), 0)

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
        state = torch.get_rng_state()
        torch.manual_seed(seed)  # once: batches that each began anew would draw alike
        try:
            for batch in packed(lengths, self.config.batch_tokens):
                members = [fits[position] for position in batch]
                texts = self._generate(
                    [rows[i] for i in members], n, max_new_tokens, temperature, top_p
                )
                for order, i in enumerate(members):
                    answers[i] = texts[order * n : (order + 1) * n]
        finally:
            torch.set_rng_state(state)
        return answers

    def _generate(
        self,
        rows: list[list[int]],
        n: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
    ) -> list[str]:
        # Generation continues the last column, so the padding goes to the left.
        ids, mask = (t.flip(1) for t in right_padded([row[::-1] for row in rows], self.pad_id))
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
                repetition_penalty=1.0,  # a model's own default would not be its distribution
                pad_token_id=self.pad_id,
            )
        return self.decode(output[:, ids.shape[1] :].cpu())


class Policy(CausalLM, PolicyTokens):
    """The policy model as a scorer: log P(response | prompt) over token ids."""

    @torch.inference_mode()
    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config, "policy")
        self._head = self._split_head()
        self._shares = self._head is not None and shares_prefixes(
            self.model.base_model, self.max_length
        )

    @torch.inference_mode()
    def logprobs(
        self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]
    ) -> list[list[Logprob]]:
        """Log-probability of every response, from (prompt ids, ids of its responses) sets.

        Token ids, not text, cross the boundary: re-tokenising prompt + response as one text can
        merge tokens across it. A prompt is computed once for all its responses, rows are packed
        by length, and the reduction over the vocabulary is in float32, in chunks, so no tensor of
        tokens x vocabulary is kept. Sequences longer than `max_length` are the caller's to leave
        out.
        """
        results = [[Logprob(0.0, len(ids)) for ids in responses] for _, responses in sets]
        places = [(i, k) for i, (_, rs) in enumerate(sets) for k, ids in enumerate(rs) if ids]
        for positions, hidden in self._hidden_batches(sets, places):
            targets = [sets[i][1][k] for i, k in (places[p] for p in positions)]
            totals = self._totals(hidden, targets)
            for position, total, ids in zip(positions, totals, targets, strict=True):
                i, k = places[position]
                results[i][k] = Logprob(total, len(ids))
        return results

    def _hidden_batches(
        self,
        sets: Sequence[tuple[list[int], Sequence[list[int]]]],
        places: Sequence[tuple[int, int]],
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Hidden states that predict the tokens of each response: (rows, longest, width).

        The token at a column is predicted at the column before it, so a response's row is the
        prompt's last token and all of its own but the last.
        """
        rows = [[sets[i][0][-1], *sets[i][1][k][:-1]] for i, k in places]
        prefixes = [prompt[:-1] for prompt, _ in sets]
        limit = self.config.batch_tokens
        if self._shares and all(prefixes):
            items = [Continuation(i, row) for (i, _), row in zip(places, rows, strict=True)]
            body = self.model.base_model
            for positions, arguments in shared_prefix_batches(
                body, prefixes, items, batch_tokens=limit, pad=self.pad_id
            ):
                yield positions, body(**arguments).last_hidden_state
            return
        whole = [prefixes[i] + row for (i, _), row in zip(places, rows, strict=True)]
        for positions in packed([len(row) for row in whole], limit):
            # Attention is causal and the padding is on the right, so no mask is needed.
            ids, _ = right_padded([whole[p] for p in positions], self.pad_id)
            states = self._last_states(ids.to(self.device))
            longest = max(len(rows[p]) for p in positions)
            hidden = states.new_zeros(len(positions), longest, states.shape[-1])
            for row, p in enumerate(positions):
                own = len(rows[p])
                hidden[row, :own] = states[row, len(whole[p]) - own : len(whole[p])]
            yield positions, hidden

    def _last_states(self, ids: torch.Tensor) -> torch.Tensor:
        """What the head turns into logits; the logits themselves where there is no such head."""
        if self._head is None:
            return self.model(input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]
        return self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    def _totals(self, hidden: torch.Tensor, targets: list[list[int]]) -> list[float]:
        rows = torch.cat([torch.full((len(ids),), i) for i, ids in enumerate(targets)])
        columns = torch.cat([torch.arange(len(ids)) for ids in targets])
        states = hidden[rows.to(self.device), columns.to(self.device)]
        wanted = torch.tensor([token for ids in targets for token in ids], device=self.device)
        step = max(16, _LOGIT_BYTES // (4 * self.model.config.get_text_config().vocab_size))
        parts = [
            self._token_logprobs(states[i : i + step], wanted[i : i + step])
            for i in range(0, len(rows), step)
        ]
        totals = torch.zeros(len(targets), dtype=torch.float64)
        totals.index_add_(0, rows, torch.cat(parts).double().cpu())
        return [float(total) for total in totals]

    def _token_logprobs(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = (hidden if self._head is None else self._head(hidden)).float()
        return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")

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
        return head if torch.allclose(split, whole, rtol=1e-5, atol=1e-6) else None
