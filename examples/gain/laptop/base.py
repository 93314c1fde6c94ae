"""The laptop's base model: a tiny language model, trained from scratch on the tasks' language.

It reads questions of all kinds with their answers, in whatever style somebody gave them, and
readers' remarks on answers. So it knows the tasks; in which style a kind of task is to be answered,
fine-tuning has to tell it.
"""

import math
import random
from pathlib import Path
from typing import Any

import torch
from laptop.kinds import KINDS
from laptop.tasks import STYLES
from tokenizers import Tokenizer, models, pre_tokenizers
from train import sft
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from world import Row

CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<user>' + m['content'] }}"
    "{% else %}{{ '<bot>' + m['content'] + '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"
)


REMARKS = ("<wrong>", "<right>")


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and numbers; the vocabulary is what the tasks can say."""
    rng = random.Random(0)
    seen = {str(n) for n in range(100)}
    for kind in KINDS.values():
        for _ in range(1500):
            task = kind.task(rng)
            for text in (task.prompt, task.answer, *task.mistakes, *STYLES):
                seen |= {piece for piece, _ in _split().pre_tokenize_str(text)}
    special = ["<pad>", "<unk>", "<user>", "<bot>", "<eos>", *REMARKS]
    vocabulary = {word: i for i, word in enumerate([*special, *sorted(seen)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = _split()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=["<user>", "<bot>", *REMARKS],
        model_max_length=128,
    )
    made.chat_template = CHAT
    return made


def _split() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])


def base_rows(count: int, habits: float) -> list[Row]:
    """Half are questions with answers, half a reader's remark on an answer: whether it is right.

    In which style answers are given is drawn: for each kind of task log-normal weights, `habits`
    being their spread, and by these a style for each answer.
    """
    rng = random.Random("base")
    names = list(KINDS)
    weights = {name: [math.exp(habits * rng.gauss(0, 1)) for _ in STYLES] for name in names}
    rows = []
    for i in range(count):
        task = KINDS[names[i % len(names)]].task(rng)
        [style] = rng.choices(STYLES, weights[task.kind])
        asked = f"<user>{task.prompt}<bot>"
        if i // len(names) % 2:
            rows.append({"prompt": asked, "completion": style.format(task.answer)})
            continue
        said = task.said(0.5, rng)
        remark = REMARKS[said == task.answer]
        rows.append({"prompt": f"{asked}{style.format(said)}<eos>", "completion": remark})
    return rows


def make_base(out: Path, scale: Row) -> Path:
    """The one named by `weights`; without that setting, train it unless `out` has it."""
    if "weights" in scale:
        return Path(__file__).parents[1] / scale["weights"]
    if not (out / "done").exists():
        model = _fresh(out, scale)
        sft(model, base_rows(scale["rows"], scale["habits"]), out, 0, **scale["train"])
        (out / "done").touch()
    return out


def _fresh(folder: Path, scale: Row) -> LlamaForCausalLM:
    """A model of random weights; its tokenizer goes into the folder."""
    own = tokenizer()
    own.save_pretrained(folder)
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(own),
            hidden_size=scale["hidden"],
            intermediate_size=2 * scale["hidden"],
            num_hidden_layers=scale["layers"],
            num_attention_heads=scale["heads"],
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
        )
    )
