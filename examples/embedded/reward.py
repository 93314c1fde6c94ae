"""The reward model (RM): the lower layers of the policy with a score, trained on pairs."""

import copy
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from data import Corpus, Example, Pair
from policy import Encoded, batches, encode, pad_batch, rate, save_tokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

# Longer conversations are rare here and cost the most time.
LONGEST = 384


@dataclass(frozen=True)
class Settings:
    """What the sweep varies."""

    rate: float = 1e-3
    layers: int = 2
    contrast: float = 0.2
    word_dropout: float = 0.1
    epochs: int = 3


# Judged on the validation slice only; the held-out pairs play no part in the choice.
SWEEP = (Settings(), Settings(rate=2e-3))


@dataclass
class Trained:
    """A trained reward model with how it was made."""

    model: LlamaForSequenceClassification
    settings: Settings
    validation: float
    best_step: int
    steps: int
    seconds: float


def new_reward(policy: LlamaForCausalLM, layers: int) -> LlamaForSequenceClassification:
    """Copy the embeddings and the first layers of the policy under a fresh score."""
    values = policy.config.to_dict()
    values.update(num_hidden_layers=layers, num_labels=1, tie_word_embeddings=False)
    for stale in ("architectures", "dtype", "layer_types", "id2label", "label2id"):
        values.pop(stale, None)
    model = LlamaForSequenceClassification(LlamaConfig(**values))
    known = policy.model.state_dict()
    own = model.model.state_dict()
    model.model.load_state_dict({name: known[name] for name in own})
    torch.nn.init.normal_(model.score.weight, std=0.02)
    return model


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair]
) -> list[tuple[Encoded, Encoded]]:
    """Encode both answers; a long conversation loses tokens before its end token."""
    sides = []
    for answers in ([p.chosen for p in pairs], [p.rejected for p in pairs]):
        examples = [Example(p.prompt, a, p.set) for p, a in zip(pairs, answers, strict=True)]
        rows = encode(tokenizer, examples)
        sides.append([Encoded([*r.ids[: LONGEST - 1], r.ids[-1]], r.start) for r in rows])
    return list(zip(*sides, strict=True))


def score(
    model: LlamaForSequenceClassification, rows: Sequence[Sequence[int]], pad: int
) -> torch.Tensor:
    """Return one score per conversation."""
    ids, mask = pad_batch(rows, pad)
    with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.float32):
        return model(input_ids=ids, attention_mask=mask).logits[:, 0].float()


def accuracy_hits(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
) -> list[float]:
    """Return 1 for each pair in the right order, 0.5 for a tie, 0 otherwise."""
    model.eval()
    rows = encode_pairs(tokenizer, pairs)
    hits = [0.0] * len(rows)
    lengths = [max(len(c.ids), len(r.ids)) for c, r in rows]
    with torch.no_grad():
        for index in batches(lengths, 4096, random.Random(0)):
            sides = [[rows[i][side].ids for i in index] for side in (0, 1)]
            good, bad = score(model, sides[0] + sides[1], tokenizer.pad_token_id).chunk(2)
            for i, gap in zip(index, (good - bad).tolist(), strict=True):
                hits[i] = 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
    return hits


def drop_words(row: Encoded, share: float, rng: random.Random) -> list[int]:
    """Leave out some tokens at random, but never the role tokens or the end."""
    last = len(row.ids) - 1
    kept = [0, row.start - 1, last]
    return [t for i, t in enumerate(row.ids) if i in kept or rng.random() >= share]


def answer(row: Encoded) -> list[int]:
    """Return the tokens of the answer with the end token."""
    return row.ids[row.start :]


def batch_loss(
    model: LlamaForSequenceClassification,
    rows: Sequence[tuple[Encoded, Encoded]],
    settings: Settings,
    pad: int,
    rng: random.Random,
) -> torch.Tensor:
    """Bradley–Terry loss, plus the same against an answer to another prompt of the batch."""
    good = [drop_words(c, settings.word_dropout, rng) for c, _ in rows]
    bad = [drop_words(r, settings.word_dropout, rng) for _, r in rows]
    # The neighbour's golden answer is fluent and correct but off the point: losing to it would
    # mean that the score ignores the prompt. A third of the batch is enough to teach that.
    few = range(len(rows) // 3) if settings.contrast > 0 else range(0)
    stray = [rows[i][0].ids[: rows[i][0].start] + answer(rows[i - 1][0]) for i in few]
    scores = score(model, good + bad + stray, pad)
    parts = scores.split([len(rows), len(rows), len(stray)])
    loss = -torch.nn.functional.logsigmoid(parts[0] - parts[1]).mean()
    if stray:
        gap = parts[0][: len(stray)] - parts[2]
        loss = loss - settings.contrast * torch.nn.functional.logsigmoid(gap).mean()
    # Only differences are trained; this keeps the scores themselves near zero.
    return loss + 0.01 * scores.square().mean()


def share_right(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair]
) -> float:
    """Return the pairwise accuracy."""
    hits = accuracy_hits(model, tokenizer, pairs)
    return sum(hits) / len(hits)


def train_once(
    policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Corpus,
    settings: Settings,
    seed: int,
    max_steps: int | None = None,
) -> Trained:
    """Train one candidate and keep its best moment on the validation slice."""
    torch.manual_seed(seed)
    rng, began = random.Random(seed), time.monotonic()
    model = new_reward(policy, settings.layers)
    rows = encode_pairs(tokenizer, corpus.train_pairs)
    lengths = [max(len(c.ids), len(r.ids)) for c, r in rows]
    stream = [b for _ in range(settings.epochs) for b in batches(lengths, 4096, rng)][:max_steps]
    every = max(1, len(stream) // settings.epochs // 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.05)
    best, kept, best_step = -1.0, model.state_dict(), 0
    for step, index in enumerate(stream, start=1):
        model.train()
        optimiser.param_groups[0]["lr"] = rate(step - 1, len(stream), settings.rate)
        batch = [rows[i] for i in index]
        loss = batch_loss(model, batch, settings, tokenizer.pad_token_id, rng)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % every == 0 or step == len(stream):
            right = share_right(model, tokenizer, corpus.valid_pairs)
            print(f"reward step {step} loss {loss.item():.3f} valid {right:.3f}", flush=True)
            if right > best:
                best, kept, best_step = right, copy.deepcopy(model.state_dict()), step
    model.load_state_dict(kept)
    return Trained(model, settings, best, best_step, len(stream), time.monotonic() - began)


def save_reward(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, out: Path
) -> None:
    """Write the model in bfloat16."""
    model.to(torch.bfloat16).save_pretrained(out)
    save_tokenizer(tokenizer, out)
