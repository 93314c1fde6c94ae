"""The policy: a very small Llama, trained from scratch to have the plan's habits."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from planted.plan import Plan
from planted.tasks import Task

TOKENIZER = Path(__file__).resolve().parents[2] / "seamaug" / "embedded" / "policy"


@dataclass(frozen=True)
class Size:
    """How large a policy, and how long it learns."""

    hidden: int
    layers: int
    epochs: int
    batch: int = 64
    rate: float = 3e-3


def load_tokenizer() -> Any:
    """The tokenizer that the package ships, whose template closes every answer."""
    return AutoTokenizer.from_pretrained(TOKENIZER)


def train_policy(tasks: Sequence[Task], plan: Plan, size: Size, seed: int, out: Path) -> Path:
    """Train on responses that are drawn anew in every epoch; what an earlier run left is reused."""
    wanted = json.dumps({"size": asdict(size), "seed": seed, "tasks": len(tasks)})
    note = out / "made.json"
    if note.exists() and note.read_text(encoding="utf-8") == wanted:
        return out
    tokenizer = load_tokenizer()
    torch.manual_seed(seed)
    model = _new_model(tokenizer, size)
    _learn(model, _encoded(tokenizer, tasks, plan, size, seed), size, seed)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    note.write_text(wanted, encoding="utf-8")
    return out


def _new_model(tokenizer: Any, size: Size) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            initializer_range=0.04,
        )
    )


Row = tuple[list[int], list[int]]
"""Token ids of a prompt and of a response to it."""


def _encoded(
    tokenizer: Any, tasks: Sequence[Task], plan: Plan, size: Size, seed: int
) -> list[list[Row]]:
    """Every epoch's conversations as token ids."""
    rng = random.Random(seed)
    prompts = tokenizer([f"<|user|>{task.prompt}<|assistant|>" for task in tasks])["input_ids"]
    epochs = []
    for _ in range(size.epochs):
        texts = [plan.respond(task, rng)[0] + tokenizer.eos_token for task in tasks]
        epochs.append(list(zip(prompts, tokenizer(texts)["input_ids"], strict=True)))
    return epochs


def _learn(model: LlamaForCausalLM, epochs: list[list[Row]], size: Size, seed: int) -> None:
    rng = random.Random(seed)
    batches = []
    for rows in epochs:
        rows = rng.sample(rows, len(rows))
        batches += [rows[at : at + size.batch] for at in range(0, len(rows), size.batch)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.rate, betas=(0.9, 0.98))
    warm = max(1, len(batches) // 20)
    model.train()
    for step, batch in enumerate(batches):
        cooled = 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        for group in optimiser.param_groups:
            group["lr"] = size.rate * min((step + 1) / warm, 0.02 + 0.98 * cooled)
        loss = _loss(model, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step == len(batches) - 1:
            print(f"policy: step {step} of {len(batches)}, loss {loss.item():.3f}", flush=True)
    model.eval()


def _loss(model: LlamaForCausalLM, batch: Sequence[Row]) -> torch.Tensor:
    """Cross-entropy of the responses; logits are computed there alone, for they cost most."""
    width = max(len(prompt) + len(response) for prompt, response in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    answer = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, (prompt, response) in enumerate(batch):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        answer[row, len(prompt) : end] = True
    # Causal attention and padding on the right: no mask is needed.
    states = model.model(input_ids=ids).last_hidden_state[:, :-1]
    logits = model.lm_head(states[answer[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][answer[:, 1:]])
