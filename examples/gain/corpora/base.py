"""A base model from scratch for the scale of real data: tokenizer and weights from its texts."""

from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from tokenizers import ByteLevelBPETokenizer
from train import sft
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from world import Row, bot, user

CHAT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ROLES = ["<|user|>", "<|assistant|>"]


def rows_of(source: str, scale: Row) -> Dataset:
    """Rows of a file of JSON lines in the folder `data`, or of a dataset of the hub."""
    path = scale["data"] / source
    if path.exists():
        return load_dataset("json", data_files=str(path), split="train")
    if path.suffix in (".gz", ".jsonl"):
        raise SystemExit(f"{path}: no such file; --data names the folder that holds {source}")
    return load_dataset(source, split="train")


def make_base(out: Path, given: Row) -> Path:
    """Train it, unless an earlier run left it in `out`."""
    scale = given["base"]
    if (out / "done").exists():
        return out
    texts = rows_of(scale["texts"], given).shuffle(seed=0)
    texts = texts.select(range(min(len(texts), scale["rows"])))

    def lines() -> Iterator[str]:
        for row in texts:
            yield row["prompt"]
            yield row["response"]

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        lines(), vocab_size=scale["vocabulary"], special_tokens=["<pad>", "<eos>", *ROLES]
    )
    own = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=ROLES,
        model_max_length=scale["context"],
    )
    own.chat_template = CHAT
    own.save_pretrained(out)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(own),
            hidden_size=scale["hidden"],
            intermediate_size=scale["intermediate"],
            num_hidden_layers=scale["layers"],
            num_attention_heads=scale["heads"],
            max_position_embeddings=scale["context"],
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
        )
    )
    rows = [{"prompt": user(row["prompt"]), "completion": bot(row["response"])} for row in texts]
    sft(model, rows, out, 0, **scale["train"])
    (out / "done").touch()
    return out
