"""Training of small models, the same for every arm: plain loops over padded batches."""

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from keeping.world import Pair
from seamaug.config import RewardConfig
from seamaug.models.tokens import RewardTokens

BATCH = 32
_SORTED_TOGETHER = 8  # batches: rows of like length share one, for padding is computed as well

PairIds = tuple[list[int], list[int]]
"""Token ids of the chosen and of the rejected conversation."""
ResponseIds = tuple[list[int], list[int]]
"""Token ids of a prompt and of the response to it."""


def reward_from_policy(policy: Path, layers: int, seed: int) -> LlamaForSequenceClassification:
    """The embeddings and lower layers of a policy under a fresh score, as in examples/embedded."""
    source = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    values = source.config.to_dict()
    values.update(num_hidden_layers=layers, num_labels=1, tie_word_embeddings=False)
    for stale in ("architectures", "dtype", "layer_types", "id2label", "label2id"):
        values.pop(stale, None)
    model = LlamaForSequenceClassification(LlamaConfig(**values))
    known = source.model.state_dict()
    model.model.load_state_dict({name: known[name] for name in model.model.state_dict()})
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.score.weight, std=0.02)
    return model


def train_new_reward(
    policy: Path, pairs: Sequence[Pair], layers: int, steps: int, seed: int, out: Path
) -> Path:
    """Train one on these preferences, unless an earlier run left it in `out`.

    Its tokenizer is the bundled one, which all models here share.
    """
    if not (out / "config.json").exists():
        tokens = RewardTokens(RewardConfig())
        model = reward_from_policy(policy, layers, seed)
        learn_pairs(model, batches([], pair_ids(tokens, pairs), steps, random.Random(seed)), 1e-3)
        tokens.tokenizer.save_pretrained(out)
        model.save_pretrained(out)
    return out


def pair_ids(tokens: RewardTokens, pairs: Sequence[Pair]) -> list[PairIds]:
    """Preferences as token ids."""
    found = [tokens.conversation_ids(p.prompt, [p.chosen, p.rejected]) for p in pairs]
    return [(chosen, rejected) for chosen, rejected in found]


def load_reward_model(folder: Path) -> Any:
    """A reward model that can be trained; the package's engines cannot."""
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


def load_policy_model(folder: Path) -> Any:
    """The same for a policy."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def batches(
    new: Sequence[Any], old: Sequence[Any], steps: int, rng: random.Random
) -> list[list[Any]]:
    """`steps` batches, half of each new rows and half old ones; all old where there are none new.

    Rows are pairs of token lists. Each side is gone through in shuffled rounds.
    """
    if not new:
        parts = [_slices(old, steps, BATCH, rng)]
    else:
        parts = [_slices(side, steps, BATCH // 2, rng) for side in (new, old)]
    joined = [list(chain(*own)) for own in zip(*parts, strict=True)]
    rng.shuffle(joined)
    return joined


def _slices(rows: Sequence[Any], count: int, size: int, rng: random.Random) -> list[list[Any]]:
    drawn: list[Any] = []
    while len(drawn) < count * size:
        drawn += rng.sample(rows, len(rows))
    made = []
    block = _SORTED_TOGETHER * size
    for start in range(0, count * size, block):
        near = sorted(drawn[start : min(start + block, count * size)], key=_length)
        made += [near[at : at + size] for at in range(0, len(near), size)]
    return made


def _length(row: tuple[list[int], list[int]]) -> int:
    return max(len(row[0]), len(row[1]))


def learn_pairs(model: Any, stream: Sequence[Sequence[PairIds]], rate: float) -> None:
    """Bradley-Terry loss; the score itself is held near zero, since only differences are learnt."""

    def loss(batch: Sequence[PairIds]) -> torch.Tensor:
        ids = _padded([own[0] for own in batch] + [own[1] for own in batch], model)
        # Attention is causal and the padding on the right: no mask is needed.
        scores = model(input_ids=ids, use_cache=False).logits[:, 0]
        good, bad = scores.chunk(2)
        margin_loss = -torch.nn.functional.logsigmoid(good - bad).mean()
        return margin_loss + 0.01 * scores.square().mean()

    _learn(model, stream, rate, loss)


def learn_responses(model: Any, stream: Sequence[Sequence[ResponseIds]], rate: float) -> None:
    """Cross-entropy of the responses; logits are computed there alone, for they cost most."""

    def loss(batch: Sequence[ResponseIds]) -> torch.Tensor:
        ids = _padded([prompt + response for prompt, response in batch], model)
        answer = torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, response) in enumerate(batch):
            answer[row, len(prompt) : len(prompt) + len(response)] = True
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(states[answer[:, 1:]])
        return torch.nn.functional.cross_entropy(logits, ids[:, 1:][answer[:, 1:]])

    _learn(model, stream, rate, loss)


def _learn(model: Any, stream: Sequence[Sequence[Any]], rate: float, loss_of: Any) -> None:
    """AdamW, with a rate that falls linearly to a tenth."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    model.train()
    for step, batch in enumerate(stream):
        optimiser.param_groups[0]["lr"] = rate * (1 - 0.9 * step / len(stream))
        loss = loss_of(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()


def _padded(rows: Sequence[list[int]], model: Any) -> torch.Tensor:
    pad, width = model.config.pad_token_id, max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])
