"""The policy model: log-probabilities of responses, and samples."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from seamaug.clock import clock
from seamaug.config import LanguageModelConfig, PolicyConfig
from seamaug.errors import ModelError
from seamaug.models.batching import longest_first, right_padded, rows_within
from seamaug.models.budget import TokenBudget
from seamaug.models.engines import Logprob
from seamaug.models.heartbeat import heartbeat
from seamaug.models.loading import device_of, load_model
from seamaug.models.probes import padding_shows, sees_what_follows
from seamaug.models.shared import Consume, Place, Sets, SharedPrompts
from seamaug.models.tokens import PolicyTokens, PromptTokens
from seamaug.models.vocabulary import Projection, logprobs_of_logits
from seamaug.records import Message

_LOGIT_BYTES = 1 << 30


class CausalLM(PromptTokens):
    """A causal language model with its tokenizer and chat template."""

    def __init__(self, config: LanguageModelConfig, role: str) -> None:
        super().__init__(config, role)
        self.config = config
        self._role = role
        self.model = load_model(AutoModelForCausalLM, config, role)
        self.device = device_of(config)
        self._sampling = TokenBudget(config.batch_tokens, role)
        eos = self.tokenizer.eos_token_id
        # Padding is masked out, so any id serves a model that names none (GPT-2, Llama).
        self.pad_id = next((i for i in (self.tokenizer.pad_token_id, eos) if i is not None), 0)
        own = self.model.generation_config.eos_token_id
        self.ends = frozenset([own] if isinstance(own, int) else own or ())
        """Tokens that end a reply."""
        # Whatever else its own file says of generation would not be the model's distribution.
        self.model.generation_config = GenerationConfig(
            eos_token_id=sorted(self.ends) or None, pad_token_id=self.pad_id
        )

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
        """`n` sampled responses to each prompt.

        Empty lists where the prompt leaves no room or the template refuses it. The same prompts,
        seed, `batch_tokens` and hardware give the same texts.
        """
        rows = self.with_room(prompts, max_new_tokens)
        drawn = self.draw(
            list(rows.values()),
            n=n,
            seed=seed,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
        )
        answers: list[list[str]] = [[] for _ in prompts]
        for i, found in zip(rows, drawn, strict=True):
            answers[i] = self.decode(found)
        return answers

    @torch.inference_mode()
    def draw(
        self,
        rows: Sequence[list[int]],
        *,
        n: int,
        seed: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
    ) -> list[list[list[int]]]:
        """`n` sampled continuations of each row of token ids, up to and with the end token."""
        lengths = [(len(row) + max_new_tokens) * n for row in rows]
        answers: list[list[list[int]]] = [[] for _ in rows]
        done = 0

        def take(rest: Sequence[int], tokens: int) -> tuple[int, int]:
            return rows_within([lengths[position] for position in rest], tokens)

        def work(batch: Sequence[int]) -> None:
            nonlocal done
            found = self._generate([rows[i] for i in batch], n, max_new_tokens, temperature, top_p)
            for order, i in enumerate(batch):
                answers[i] = found[order * n : (order + 1) * n]
            done += len(batch)

        def written() -> str:
            return f"{done * n:,} of {len(rows) * n:,} responses are written"

        state = torch.get_rng_state()
        torch.manual_seed(seed)  # once: batches that each began anew would draw alike
        try:
            with heartbeat(self._role, written):
                self._sampling.run(longest_first(lengths), take, work)
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
    ) -> list[list[int]]:
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
            )
        return [self._up_to_the_end(row) for row in output[:, ids.shape[1] :].tolist()]

    def _up_to_the_end(self, row: list[int]) -> list[int]:
        """Without the padding of a continuation that ended before others of its batch."""
        end = next((i + 1 for i, token in enumerate(row) if token in self.ends), len(row))
        return row[:end]


class Policy(CausalLM, PolicyTokens):
    """The policy model as a scorer: log P(response | prompt) over token ids."""

    @torch.inference_mode()
    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config, "policy")
        if sees_what_follows(self.model):
            raise ModelError(
                f"policy model {config.name!r} reads a text in both directions, so it has no "
                "log-probability of a response; give a causal language model"
            )
        self._alike = padding_shows(self.model)
        self._budget = TokenBudget(config.batch_tokens, "policy")
        self.projection = Projection.of(self.model)
        """None for a model whose logits are not a projection of hidden states alone."""
        self._shared = SharedPrompts(self.model.base_model, self._budget)

    @torch.inference_mode()
    def logprobs(
        self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]
    ) -> list[list[Logprob]]:
        """Log-probability of every response, from (prompt ids, ids of its responses) sets.

        Token ids, not text, cross the boundary: re-tokenising prompt + response as one text can
        merge tokens across it. A prompt is computed once for all its responses, batches are cut by
        their tokens, and no tensor of tokens x vocabulary is kept. A prompt has one token at least;
        sequences longer than `max_length` are the caller's to leave out.
        """
        results = [[Logprob(0.0, len(ids)) for ids in responses] for _, responses in sets]

        def take(
            places: Sequence[Place], states: torch.Tensor, positions: list[torch.Tensor]
        ) -> None:
            targets = [sets[i][1][k] for i, k in places]
            totals = self._totals(states, positions, targets)
            for (i, k), ids, total in zip(places, targets, totals, strict=True):
                results[i][k] = Logprob(total, len(ids))

        self.read(sets, take)
        return results

    def read(self, sets: Sets, consume: Consume) -> None:
        """Hands over, batch by batch, the states that predict the tokens of every response.

        sets: as for `logprobs`. For each place (set, response) `consume` gets the positions, among
        a batch's hidden states (tokens, width), of the states that predict its tokens, one each; a
        response of no tokens has no place. Where there is no `projection`, the states are logits.
        """
        asked = [[k for k, ids in enumerate(responses) if ids] for _, responses in sets]
        # The last token of a response predicts nothing that is asked for.
        inputs = [
            (prompt, [responses[k][:-1] for k in ks])
            for (prompt, responses), ks in zip(sets, asked, strict=True)
        ]

        def take(
            places: Sequence[Place], states: torch.Tensor, positions: list[torch.Tensor]
        ) -> None:
            consume([(i, asked[i][k]) for i, k in places], states, positions)

        longest = max((len(p) + len(row) for p, rows in inputs for row in rows), default=0)
        sharing = self.projection is not None and longest <= self._shared.longest
        if not (sharing and self._shared.read(inputs, take)):
            self._read_padded(inputs, take)

    def _read_padded(self, sets: Sets, consume: Consume) -> None:
        """Whole sequences in padded rows, for models that cannot continue a shared prompt."""
        found = [(i, k) for i, (_, rows) in enumerate(sets) for k in range(len(rows))]
        sizes = [len(sets[i][0]) + len(sets[i][1][k]) for i, k in found]
        places = [found[position] for position in longest_first(sizes)]

        def take(rest: Sequence[Place], tokens: int) -> tuple[int, int]:
            lengths = [len(sets[i][0]) + len(sets[i][1][k]) for i, k in rest]
            return rows_within(lengths, self._fitting(tokens), alike=self._alike)

        def work(batch: Sequence[Place]) -> None:
            rows = [sets[i][0] + sets[i][1][k] for i, k in batch]
            # Attention is causal and the padding is on the right, so no mask is needed.
            ids = right_padded(rows, self.pad_id)[0].to(self.device)
            states = self._last_states(ids).flatten(0, 1)
            width = ids.shape[1]
            positions = [
                torch.arange(order * width + len(sets[i][0]) - 1, order * width + len(row))
                for order, ((i, _), row) in enumerate(zip(batch, rows, strict=True))
            ]
            consume(batch, states, positions)

        self._budget.run(places, take, work)

    def _fitting(self, tokens: int) -> int:
        """Tokens of a batch whose logits, where all are computed, fit beside the model."""
        if self.projection:
            return tokens
        vocabulary: int = self.model.config.get_text_config().vocab_size
        return min(tokens, _LOGIT_BYTES // (4 * vocabulary))

    def _last_states(self, ids: torch.Tensor) -> torch.Tensor:
        """What the projection turns into logits; the logits where there is no such projection."""
        if self.projection is None:
            logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits
            return logits
        states: torch.Tensor = self.model.base_model(
            input_ids=ids, use_cache=False
        ).last_hidden_state
        return states

    def _totals(
        self, states: torch.Tensor, positions: list[torch.Tensor], targets: list[list[int]]
    ) -> list[float]:
        """Sum over each response's tokens, added up in float64."""
        owners = torch.cat([torch.full((len(ids),), i) for i, ids in enumerate(targets)])
        wanted = torch.tensor([token for ids in targets for token in ids], device=self.device)
        logprobs = self.projection.logprobs if self.projection else logprobs_of_logits
        found = logprobs(states, torch.cat(positions).to(self.device), wanted)
        totals = torch.zeros(len(targets), dtype=torch.float64)
        totals.index_add_(0, owners, found.double().cpu())
        return totals.tolist()
