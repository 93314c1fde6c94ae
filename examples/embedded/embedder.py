"""The embedder: averaged word-piece vectors, trained to bring related texts together."""

import random
import re
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Corpus, normalise
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss
from sentence_transformers.models import Dense, Normalize, StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 8000
DIMENSIONS = 96
# After training, unrelated questions sit near cosine 0 and the closest ones near 0.5. One more
# constant dimension turns a cosine c into (c + k) / (1 + k): the order stays the same, and close
# questions come to lie between 0.8 and 0.9, where users of larger embedders expect them.
LIFT = 2.25


def train_pieces(texts: Sequence[str]) -> Tokenizer:
    """Train a small lower-case tokenizer.

    BPE, not WordPiece: that trainer gives another vocabulary on every run.
    """
    raw = Tokenizer(models.BPE(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    return raw


def halves(text: str) -> tuple[str, str] | None:
    """Cut a text of several sentences in two parts that talk about the same thing."""
    parts = re.split(r"(?<=[.?!])\s+", text)
    if len(parts) < 2:
        return None
    middle = len(parts) // 2
    return " ".join(parts[:middle]), " ".join(parts[middle:])


def related_texts(corpus: Corpus, rng: random.Random) -> list[tuple[str, str]]:
    """List pairs that belong together: question and answer, two turns, two halves."""
    pairs = [(e.prompt, e.response) for e in corpus.examples]
    for turns in corpus.conversations:
        pairs += pairwise(turns)
    for text in dict.fromkeys(e.prompt for e in corpus.examples):
        cut = halves(text)
        if cut:
            pairs.append(cut)
    rng.shuffle(pairs)
    return [(a, b) for a, b in pairs if a.strip() and b.strip()]


def lifted(model: SentenceTransformer) -> SentenceTransformer:
    """Add the constant dimension behind the trained modules."""
    dense = Dense(DIMENSIONS, DIMENSIONS + 1, activation_function=torch.nn.Identity())
    with torch.no_grad():
        dense.linear.weight.copy_(torch.eye(DIMENSIONS + 1, DIMENSIONS))
        dense.linear.bias.zero_()
        dense.linear.bias[DIMENSIONS] = LIFT**0.5
    return SentenceTransformer(modules=[*model, dense, Normalize()], device="cpu")


def train_embedder(
    corpus: Corpus, out: Path, seed: int, epochs: int, max_steps: int = -1
) -> dict[str, float]:
    """Train with the other answers of the batch as negatives, and save."""
    began = time.monotonic()
    torch.manual_seed(seed)
    pairs = related_texts(corpus, random.Random(seed))
    tokenizer = train_pieces([text for pair in pairs for text in pair])
    static = StaticEmbedding(tokenizer, embedding_dim=DIMENSIONS)
    model = SentenceTransformer(modules=[static, Normalize()], device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        left, right = zip(*pairs, strict=True)
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments(Path(scratch), seed, epochs, max_steps),
            train_dataset=Dataset.from_dict({"anchor": list(left), "positive": list(right)}),
            loss=MultipleNegativesRankingLoss(model),
        )
        trainer.train()
    lifted(model).save_pretrained(str(out), create_model_card=False)
    return {
        "pairs": len(pairs),
        "steps": trainer.state.global_step,
        "seconds": time.monotonic() - began,
    }


def arguments(
    scratch: Path, seed: int, epochs: int, max_steps: int
) -> SentenceTransformerTrainingArguments:
    """Return the training arguments; nothing is kept in the scratch folder."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=epochs,
        max_steps=max_steps,
        per_device_train_batch_size=256,
        learning_rate=0.02,
        lr_scheduler_type="cosine",
        seed=seed,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=50,
    )


def shares(same: np.ndarray, names: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return the share of prompts whose neighbour is of the same set, overall and per set."""
    found = {"overall": float(same[mask].mean())}
    for name in sorted(set(names[mask])):
        found[name] = float(same[mask & (names == name)].mean())
    return found


def neighbour_figures(model: SentenceTransformer, corpus: Corpus) -> dict[str, Any]:
    """Measure how often the nearest other seed prompt comes from the same set."""
    rows = {normalise(row["prompt"]): row for row in corpus.seeds}
    names = np.array([row["set"] for row in rows.values()])
    texts = [row["prompt"] for row in rows.values()]
    vectors = np.asarray(model.encode(texts, show_progress_bar=False), dtype=np.float32)
    close = vectors @ vectors.T
    other = close[np.triu_indices(len(texts), 1)]
    np.fill_diagonal(close, -1.0)
    same = names[close.argmax(1)] == names
    held = np.isin(list(rows), [normalise(p.prompt) for p in corpus.heldout_pairs])
    band = ((close >= 0.8) & (close < 0.9)).sum(1)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "prompts": len(texts),
        "heldout_prompts": int(held.sum()),
        "all": shares(same, names, np.ones_like(held)),
        "heldout": shares(same, names, held),
        "most_common_set": max(float((names == name).mean()) for name in set(names)),
        "band": {
            "at_least_1": float((band >= 1).mean()),
            "at_least_8": float((band >= 8).mean()),
            "median_neighbours": float(np.median(band)),
        },
        "cosine_quantile_levels": list(levels),
        "nearest_cosine_quantiles": np.quantile(close.max(1), levels).tolist(),
        "any_two_cosine_quantiles": np.quantile(other, levels).tolist(),
    }
