"""Read the public rows, keep the permissive ones, and split them by prompt."""

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]

LICENCES = ("MIT", "Apache-2.0", "MIT(upstream)")
SETS = ("gsm8k_solutions", "truthfulqa", "hh_helpful", "oasst")
SEED_FIELDS = ("id", "prompt", "chosen", "rejected", "source", "set", "licence", "label_by")
# P3 holds ~280 templates over far fewer texts; a small cap keeps it from drowning the rest.
P3_CAP = 40
P3_MAX_PROMPT_WORDS = 60
P3_MIN_RESPONSE_WORDS = 3
NEAR_DUPLICATE = 0.6


@dataclass(frozen=True)
class Pair:
    """One prompt with a preferred and a less preferred answer."""

    prompt: str
    chosen: str
    rejected: str
    set: str


@dataclass(frozen=True)
class Example:
    """One prompt with one answer to imitate."""

    prompt: str
    response: str
    source: str


@dataclass
class Corpus:
    """All rows the three models need; no training list holds a held-out prompt."""

    seeds: list[Row]
    train_pairs: list[Pair]
    valid_pairs: list[Pair]
    heldout_pairs: list[Pair]
    examples: list[Example]
    valid_examples: list[Example]
    conversations: list[list[str]]


def normalise(text: str) -> str:
    """Return the text as lower-case words, so that small spelling changes do not hide a match."""
    return " ".join(re.findall(r"\w+", text.lower()))


def read_rows(path: Path) -> list[Row]:
    """Read gzip JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def is_allowed(row: Row) -> bool:
    """Tell whether a preference row may ship or train weights that ship."""
    return row["licence"] in LICENCES and row["set"] in SETS


def write_seeds(rows: Iterable[Row], path: Path) -> None:
    """Write the seeds so that the same rows always give the same bytes."""
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out,
    ):
        out.write("".join(lines).encode("utf-8"))


def pick_prompts(rows: Iterable[Row], share: float, salt: str) -> set[str]:
    """Pick a share of the prompts of every set; the choice depends only on the salt."""
    by_set: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_set[row["set"]].add(normalise(row["prompt"]))
    picked: set[str] = set()
    for prompts in by_set.values():
        order = sorted(prompts, key=lambda p: hashlib.sha256(f"{salt}:{p}".encode()).digest())
        picked.update(order[: max(1, round(share * len(order)))])
    return picked


def human_turns(prompt: str) -> list[str]:
    """Return what the human said in a `Human: … Assistant: …` transcript."""
    turns = re.split(r"(?:^|\n\n)(Human|Assistant):", prompt)
    return [
        text.strip()
        for who, text in zip(turns[1::2], turns[2::2], strict=True)
        if who == "Human" and text.strip()
    ]


def sft_examples(rows: Iterable[Row], banned: set[str]) -> list[Example]:
    """Keep the permissive instruction rows: GSM8K train, Open Assistant and a little P3."""
    taken: dict[str, int] = defaultdict(int)
    kept = []
    for row in rows:
        source, prompt, response = row["source"], row["prompt"], row["response"]
        if not source.startswith(("gsm8k-train", "oasst", "p3-t0/")):
            continue
        if source.startswith("p3-t0/"):
            too_long = len(prompt.split()) > P3_MAX_PROMPT_WORDS
            too_short = len(response.split()) < P3_MIN_RESPONSE_WORDS
            if too_long or too_short or taken[source] >= P3_CAP:
                continue
        if normalise(prompt) not in banned:
            taken[source] += 1
            kept.append(Example(prompt, response, source))
    return kept


def as_pairs(rows: Iterable[Row], prompts: set[str] | None, banned: set[str]) -> list[Pair]:
    """Turn rows into pairs, limited to `prompts` (if given) and never one of `banned`."""
    out = []
    for row in rows:
        key = normalise(row["prompt"])
        if key not in banned and (prompts is None or key in prompts):
            out.append(Pair(row["prompt"], row["chosen"], row["rejected"], row["set"]))
    return out


def golden(pairs: Iterable[Pair]) -> list[Example]:
    """Return every different preferred answer as an example to imitate."""
    return list(dict.fromkeys(Example(p.prompt, p.chosen, p.set) for p in pairs))


def unseen(pairs: list[Pair], texts: Iterable[str]) -> list[Pair]:
    """Leave out the pairs whose prompt stands somewhere inside a training text.

    The instruction rows hold whole conversations, and some of them open with a seed prompt.
    """
    known = "\n".join(f" {normalise(text)} " for text in texts)
    return [p for p in pairs if f" {normalise(p.prompt)} " not in known]


def load(data: Path, seed: int) -> Corpus:
    """Read the folder and split it: held-out seeds, a validation slice, the training rest."""
    demo = [row for row in read_rows(data / "preference-demo.jsonl.gz") if is_allowed(row)]
    seeds = [{field: row[field] for field in SEED_FIELDS} for row in demo]
    larger = [row for row in read_rows(data / "preference-larger.jsonl.gz") if is_allowed(row)]
    single = [row for row in larger if row["n_turns"] == 1]
    heldout = pick_prompts(seeds, 0.1, f"{seed}:heldout")
    rest = [row for row in single if normalise(row["prompt"]) not in heldout]
    valid = pick_prompts(rest, 0.1, f"{seed}:valid")
    # The policy never sees validation prompts either: the reward model starts from its
    # weights, and would otherwise look better on validation than it is.
    banned = heldout | valid
    train_pairs = as_pairs(single, None, banned)
    valid_pairs = as_pairs(single, valid, set())
    turns = [human_turns(row["prompt"]) for row in larger if row["n_turns"] > 1]
    sft = read_rows(data / "sft-mixed.jsonl.gz")
    examples = sft_examples(sft, banned) + golden(train_pairs)
    conversations = [t for t in turns if not banned & {normalise(text) for text in t}]
    texts = [text for e in examples for text in (e.prompt, e.response)]
    texts += [p.rejected for p in train_pairs] + [text for t in conversations for text in t]
    return Corpus(
        seeds=seeds,
        train_pairs=train_pairs,
        valid_pairs=valid_pairs,
        heldout_pairs=unseen(as_pairs(seeds, heldout, set()), texts),
        examples=examples,
        valid_examples=golden(valid_pairs),
        conversations=conversations,
    )


def near_duplicates(prompts: Iterable[str], training: Iterable[str]) -> set[str]:
    """Return the normalised prompts that share most of their words with a training prompt."""
    known = [set(normalise(text).split()) for text in set(training)]
    found = set()
    for prompt in {normalise(text) for text in prompts}:
        words = set(prompt.split())
        if any(len(words & other) >= NEAR_DUPLICATE * len(words | other) for other in known):
            found.add(prompt)
    return found
