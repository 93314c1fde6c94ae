"""What the scoring benchmark scores: models with random weights, and prompts with responses.

The weights say nothing, and need not: time, memory and agreement do not depend on what a model has
learned, and a model made on the spot needs no download.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
)

from seamaug.config import PolicyConfig, SeedsConfig
from seamaug.models.tokens import PolicyTokens
from seamaug.records import Message
from seamaug.resources import EMBEDDED, resource
from seamaug.seeds.table import read_seeds

LONG_FROM = 256
"""Tokens from which a prompt counts as long."""
_FEW = 96  # prompts a workload draws from, so that not every row of a file is tokenised twice


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the work of a Llama-like model."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = True


SHAPES = {
    "tiny": Shape(64, 128, 2, 4, 2, 4096),
    "135M": Shape(576, 1536, 30, 9, 3, 49_152),  # SmolLM2-135M
    "1.5B": Shape(1536, 8960, 28, 12, 2, 151_936),  # Qwen2.5-1.5B
    "8B": Shape(4096, 14_336, 32, 32, 8, 128_256, tied=False),  # Llama 3 8B
}


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A prompt with the responses to score: the golden one first."""

    prompt: list[Message]
    responses: list[str]


def make_model(
    folder: Path, shape: Shape, role: str, *, dtype: str = "float32", device: str = "cpu"
) -> str:
    """Folder of a model with random weights and the bundled tokenizer, as save_pretrained writes.

    The initial weights have the standard deviation of SmolLM2, twice the usual one: logits then
    differ by whole nats, so an engine that reads the wrong token is seen.
    """
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=2048,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        **({} if role == "policy" else {"num_labels": 1}),
    )
    auto = AutoModelForCausalLM if role == "policy" else AutoModelForSequenceClassification
    torch.manual_seed(0 if role == "policy" else 1)
    with torch.device(device):
        model = auto.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(resource("embedded", "policy")).save_pretrained(folder)
    return str(folder)


def workloads(
    data: Path | None, *, short: int, long: int, responses: int
) -> dict[str, tuple[str, list[PromptSet]]]:
    """Per workload, where its texts come from and its prompts.

    short: single turns as the seeds have them. long: conversations of `LONG_FROM` tokens or more;
    without `data` there are none to be had, so bundled seeds are put one after another.
    """
    bundled = _seeds(EMBEDDED)
    if data is None:
        few, many = bundled, _joined(bundled)
        sources = ("bundled seeds", "bundled seeds, joined to conversations")
    else:
        few = _seeds(str(data / "preference-demo.jsonl.gz"))
        many = _seeds(str(data / "preference-larger.jsonl.gz"))
        sources = ("preference-demo", "preference-larger, several turns")
    tokens = PolicyTokens(PolicyConfig())
    single = [item for item in few if len(item[0]) == 1]
    several = [
        item for item in many if len(item[0]) > 1 and len(tokens.prompt_ids(item[0])) >= LONG_FROM
    ]
    return {
        name: (source, _drawn(rows, tokens, count, responses))
        for name, source, rows, count in (
            ("short", sources[0], single, short),
            ("long", sources[1], several, long),
        )
    }


def _seeds(path: str) -> list[tuple[list[Message], str]]:
    seeds = read_seeds(SeedsConfig(paths=(path,)))
    return [(seed.prompt, seed.golden) for seed in seeds.at(range(len(seeds)))]


def _joined(rows: list[tuple[list[Message], str]]) -> list[tuple[list[Message], str]]:
    """Conversations of five turns each, from single-turn seeds in a fixed random order."""
    order = random.Random(1).sample(rows, min(len(rows), 5 * _FEW))
    joined = []
    for start in range(0, len(order) - 4, 5):
        prompt: list[Message] = []
        for turn, golden in order[start : start + 4]:
            prompt += [*turn, {"role": "assistant", "content": golden}]
        last, golden = order[start + 4]
        joined.append(([*prompt, *last], golden))
    return joined


def _drawn(
    rows: list[tuple[list[Message], str]], tokens: PolicyTokens, count: int, responses: int
) -> list[PromptSet]:
    """`count` prompts, each with its golden response and those of other prompts drawn at random.

    Random rather than nearest ones: the work is the same, and no embedder is needed. All fit.
    """
    draw = random.Random(0)
    room = tokens.max_length
    sets = []
    for prompt, golden in draw.sample(rows, min(len(rows), max(count, _FEW))):
        others = draw.sample([text for _, text in rows if text != golden], responses - 1)
        used = len(tokens.prompt_ids(prompt))
        if used + max(map(len, tokens.response_ids([golden, *others]))) + 8 > room:
            continue
        sets.append(PromptSet(prompt, [golden, *others]))
        if len(sets) == count:
            break
    return sets


def token_sets(policy: Any, sets: list[PromptSet]) -> list[tuple[list[int], list[list[int]]]]:
    """Prompt ids and response ids of each set: what every policy engine has to score."""
    return [(policy.prompt_ids(item.prompt), policy.response_ids(item.responses)) for item in sets]
