"""The shared tokenizer and the policy model (PM): a very small Llama trained from scratch."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from data import Example
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

PAD, EOS = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
# A role token opens a turn, and only an answer is closed (by the end token). Text never touches
# text across a turn, so the tokens of a prompt are always a prefix of the whole conversation.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 4096
MAX_LENGTH = 512


@dataclass(frozen=True)
class Encoded:
    """Token ids of a conversation and the place where the answer starts."""

    ids: list[int]
    start: int


def train_tokenizer(texts: Sequence[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; every digit is its own token, which helps sums."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, EOS, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        padding_side="right",
    )


def encode(tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example]) -> list[Encoded]:
    """Turn prompts and answers into token ids with the chat template."""
    asked = [[{"role": "user", "content": e.prompt}] for e in examples]
    full = [
        [*turn, {"role": "assistant", "content": e.response}]
        for turn, e in zip(asked, examples, strict=True)
    ]
    prompts = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    texts = tokenizer.apply_chat_template(full, tokenize=False)
    starts = [len(i) for i in tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [Encoded(i, s) for i, s in zip(ids, starts, strict=True)]


def batches(lengths: Sequence[int], budget: int, rng: random.Random) -> Iterator[list[int]]:
    """Yield index lists of similar length, each of at most `budget` tokens with padding."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    made: list[list[int]] = []
    for low in range(0, len(order), 2000):
        current: list[int] = []
        for index in sorted(order[low : low + 2000], key=lambda i: lengths[i]):
            if current and (len(current) + 1) * lengths[index] > budget:
                made.append(current)
                current = []
            current.append(index)
        made.append(current)
    rng.shuffle(made)
    yield from made


def pad_batch(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right and return the ids with their attention mask."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def new_policy(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make the untrained model."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


def token_losses(
    model: LlamaForCausalLM, rows: Sequence[Encoded], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of every next token and a mask: 1 in the answer, 0.5 in the prompt."""
    ids, mask = pad_batch([row.ids for row in rows], pad)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    ).view(ids.shape[0], -1)
    place = torch.arange(1, ids.shape[1])
    starts = torch.tensor([row.start for row in rows])[:, None]
    weight = torch.where(place >= starts, 1.0, 0.5) * mask[:, 1:]
    return losses, weight


def answer_nats(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example]
) -> float:
    """Return the summed negative log-likelihood of the answers, end token included."""
    model.eval()
    rows = encode(tokenizer, examples)
    total = 0.0
    with torch.no_grad():
        for index in batches([len(r.ids) for r in rows], 8192, random.Random(0)):
            losses, weight = token_losses(model, [rows[i] for i in index], tokenizer.pad_token_id)
            total += float((losses * (weight == 1.0)).sum())
    return total


def rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate: a short warm-up, then a cosine down to nearly nothing."""
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))))


def train_policy(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], steps: int, seed: int
) -> LlamaForCausalLM:
    """Train on answers (and half as much on prompts) for a fixed number of steps."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = new_policy(tokenizer)
    rows = [Encoded(r.ids[:MAX_LENGTH], r.start) for r in encode(tokenizer, examples)]
    lengths = [len(row.ids) for row in rows]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.05)
    stream = (index for _ in iter(int, 1) for index in batches(lengths, 4096, rng))
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps, 3e-3)
        batch = [rows[i] for i in next(stream)]
        losses, weight = token_losses(model, batch, tokenizer.pad_token_id)
        loss = (losses * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"policy step {step} loss {loss.item():.3f}", flush=True)
    return model


def save_policy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model in bfloat16 (half the bytes) with generation defaults."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        max_new_tokens=128,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(out)
    save_tokenizer(tokenizer, out)


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the tokenizer under the class name that older transformers versions know too."""
    tokenizer.save_pretrained(out)
    path = out / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
