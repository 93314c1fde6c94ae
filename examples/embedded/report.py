"""Measure the finished models and write the numbers, the README and the licence notes."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from data import Corpus, Pair, golden, near_duplicates, normalise
from embedder import neighbour_figures
from policy import answer_nats
from reward import accuracy_hits
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from words import WordModel, units

LABELS = (("near_duplicate_in_training", True), ("no_near_duplicate_in_training", False))


def wilson(hits: Sequence[float]) -> dict[str, float]:
    """Return a share with its 95 % Wilson interval."""
    n, p, z = len(hits), sum(hits) / len(hits), 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"accuracy": p, "low": centre - half, "high": centre + half, "pairs": n}


def by_set(pairs: Sequence[Pair], hits: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return the share overall and for every set."""
    out = {"overall": wilson(hits)}
    for name in sorted({p.set for p in pairs}):
        out[name] = wilson([h for p, h in zip(pairs, hits, strict=True) if p.set == name])
    return out


def reward_figures(out: Path, corpus: Corpus) -> dict[str, Any]:
    """Measure the reward model as it was saved, on pairs whose prompts it never saw."""
    tokenizer = AutoTokenizer.from_pretrained(out / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(out / "reward")
    pairs = corpus.heldout_pairs
    hits = accuracy_hits(model, tokenizer, pairs)
    close = near_duplicates((p.prompt for p in pairs), (e.prompt for e in corpus.examples))
    near = [normalise(p.prompt) in close for p in pairs]
    longer = [float(len(p.chosen) > len(p.rejected)) for p in pairs]
    figures: dict[str, Any] = {"heldout": by_set(pairs, hits)}
    for label, flag in LABELS:
        chosen = [h for h, n in zip(hits, near, strict=True) if n is flag]
        figures[label] = wilson(chosen) if chosen else None
    figures["baseline_longer_answer"] = by_set(pairs, longer)
    figures["validation"] = by_set(
        corpus.valid_pairs, accuracy_hits(model, tokenizer, corpus.valid_pairs)
    )
    return figures


def policy_figures(out: Path, corpus: Corpus) -> dict[str, Any]:
    """Compare the policy with word-level models trained on the same answers."""
    tokenizer = AutoTokenizer.from_pretrained(out / "policy")
    model = AutoModelForCausalLM.from_pretrained(out / "policy")
    held = golden(corpus.heldout_pairs)
    words = WordModel([e.response for e in corpus.examples])
    valid = [e.response for e in corpus.valid_examples]
    unigram, trigram = words.fit(valid, 1), words.fit(valid, 3)
    figures: dict[str, Any] = {}
    for name in ("overall", *sorted({e.source for e in held})):
        some = [e for e in held if name in ("overall", e.source)]
        texts = [e.response for e in some]
        count = sum(len(units(text)) for text in texts)
        figures[name] = {
            "answers": len(some),
            "words": count,
            "policy": math.exp(answer_nats(model, tokenizer, some) / count),
            "unigram": math.exp(words.nats(texts, unigram) / count),
            "trigram": math.exp(words.nats(texts, trigram) / count),
        }
    return figures


def describe(out: Path, name: str) -> dict[str, Any]:
    """Count the weights and the bytes of one folder."""
    path = out / name
    tensors = load_file(path / "model.safetensors") if name != "embedder" else {}
    if name == "embedder":
        for file in path.rglob("*.safetensors"):
            tensors |= {f"{file.parent.name}/{k}": v for k, v in load_file(file).items()}
    table = max(tensors.values(), key=torch.numel)
    total = sum(t.numel() for t in tensors.values())
    return {
        "parameters": total,
        "parameters_without_embeddings": total - table.numel(),
        "bytes": sum(f.stat().st_size for f in path.rglob("*") if f.is_file()),
    }


def measure(
    out: Path, corpus: Corpus, notes: dict[str, Any], seed: int, quick: bool
) -> dict[str, Any]:
    """Load the saved models the ordinary way and collect every number."""
    embedder = SentenceTransformer(str(out / "embedder"), device="cpu")
    return {
        "seed": seed,
        "quick": quick,
        "seeds": dict(sorted(Counter(row["set"] for row in corpus.seeds).items())),
        "training_rows": training_rows(corpus),
        "models": {n: describe(out, n) for n in ("policy", "reward", "embedder")},
        "training": notes,
        "reward": reward_figures(out, corpus),
        "policy": policy_figures(out, corpus),
        "embedder": neighbour_figures(embedder, corpus),
    }


def training_rows(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Count the training rows by origin."""
    origin = Counter(
        "p3-t0" if e.source.startswith("p3-t0/") else e.source for e in corpus.examples
    )
    return {
        "examples": dict(sorted(origin.items())),
        "pairs": dict(sorted(Counter(p.set for p in corpus.train_pairs).items())),
        "conversations": {"hh_helpful and oasst": len(corpus.conversations)},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(figures: dict[str, float] | None) -> str:
    """Show a share with its interval and its number of pairs."""
    if figures is None:
        return "no such pairs"
    low, high = figures["low"], figures["high"]
    return f"{figures['accuracy']:.3f} [{low:.3f}, {high:.3f}], {figures['pairs']} pairs"


def overall_first(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the figures with the overall one on top."""
    return sorted(figures.items(), key=lambda item: (item[0] != "overall", item[0]))


def models_table(figures: dict[str, Any]) -> str:
    """Show size and effort of the three models."""
    training = figures["training"]
    sweep = training["reward"]["sweep"]
    best = sweep[training["reward"]["chosen"]]
    effort = {
        "policy": (training["policy"]["steps"], training["policy"]["seconds"]),
        "reward": (
            f"best of {len(sweep)} runs, step {best['best_step']} of {best['steps']}",
            sum(run["seconds"] for run in sweep),
        ),
        "embedder": (training["embedder"]["steps"], training["embedder"]["seconds"]),
    }
    rows = []
    for name in ("policy", "reward", "embedder"):
        size = figures["models"][name]
        steps, seconds = effort[name]
        total, inner = size["parameters"], size["parameters_without_embeddings"]
        rows.append(
            [name, f"{total:,}", f"{inner:,}", f"{size['bytes']:,}", str(steps), f"{seconds:.0f}"]
        )
    head = ["model", "parameters", "without embeddings", "bytes", "steps", "seconds"]
    return table(head, rows)


def reward_table(figures: dict[str, Any]) -> str:
    """Show the pairwise accuracy for every set beside always taking the longer answer."""
    rows = [
        [name, interval(held), f"{figures['baseline_longer_answer'][name]['accuracy']:.3f}"]
        for name, held in overall_first(figures["heldout"])
    ]
    for label in ("near_duplicate_in_training", "no_near_duplicate_in_training"):
        rows.append([label.replace("_", " "), interval(figures[label]), ""])
    rows.append(["(validation, used to choose)", interval(figures["validation"]["overall"]), ""])
    return table(["held-out pairs", "accuracy [95 % Wilson]", "longer answer wins"], rows)


def policy_table(figures: dict[str, Any]) -> str:
    """Show the perplexity per word."""
    rows = [
        [name, str(f["words"]), *(f"{f[m]:.1f}" for m in ("policy", "trigram", "unigram"))]
        for name, f in overall_first(figures)
    ]
    return table(["held-out answers", "words", "policy", "trigram", "unigram"], rows)


def embedder_table(figures: dict[str, Any]) -> str:
    """Show how often the nearest neighbour is of the same set."""
    rows = [
        [name, f"{share:.3f}", f"{figures['heldout'].get(name, float('nan')):.3f}"]
        for name, share in overall_first(figures["all"])
    ]
    return table(["nearest prompt of the same set", "all prompts", "held-out prompts"], rows)


def write_readme(out: Path, figures: dict[str, Any]) -> None:
    """Fill the measured numbers into the README."""
    near = figures["embedder"]
    quantiles = [
        " / ".join(f"{q:.2f}" for q in near[key])
        for key in (
            "cosine_quantile_levels",
            "nearest_cosine_quantiles",
            "any_two_cosine_quantiles",
        )
    ]
    text = (Path(__file__).parent / "readme_template.md").read_text(encoding="utf-8")
    rows = figures["training_rows"]
    values = {
        "seed": figures["seed"],
        "total_seeds": sum(figures["seeds"].values()),
        "seed_sets": ", ".join(f"{k} {v}" for k, v in figures["seeds"].items()),
        "models": models_table(figures),
        "examples": ", ".join(f"{k} {v}" for k, v in rows["examples"].items()),
        "pairs": ", ".join(f"{k} {v}" for k, v in rows["pairs"].items()),
        "turns": sum(rows["conversations"].values()),
        "reward": reward_table(figures["reward"]),
        "policy": policy_table(figures["policy"]),
        "embedder": embedder_table(near),
        "common": f"{near['most_common_set']:.2f}",
        "band1": f"{near['band']['at_least_1']:.2f}",
        "band8": f"{near['band']['at_least_8']:.2f}",
        "levels": quantiles[0],
        "nearest": quantiles[1],
        "any": quantiles[2],
    }
    (out / "README.md").write_text(text.format(**values), encoding="utf-8")


def write_licences(out: Path, corpus: Corpus, texts: Path) -> None:
    """Name the origin and the licence of every row, and repeat the MIT notices in full."""
    text = (Path(__file__).parent / "licences_template.md").read_text(encoding="utf-8")
    seeds = Counter((r["set"], r["source"], r["licence"], r["label_by"]) for r in corpus.seeds)
    rows = [[*key, str(count)] for key, count in sorted(seeds.items())]
    notices = [
        f"## {path.name.split('.')[0]}\n\n```text\n{path.read_text(encoding='utf-8').strip()}\n```"
        for path in (
            texts / "gsm8k.MIT.txt",
            texts / "hh-rlhf.MIT.txt",
            texts / "open-assistant.Apache-2.0.txt",
        )
        if path.exists()
    ]
    head = ["set", "source", "licence", "label by", "seeds"]
    filled = text.format(seeds=table(head, rows), notices="\n\n".join(notices))
    (out / "DATA_LICENSES.md").write_text(filled.rstrip() + "\n", encoding="utf-8")
