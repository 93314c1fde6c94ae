"""The laptop's base model: a tiny language model, trained from scratch on the tasks' language.

It reads questions of all kinds with their answers, and readers' remarks on answers. Then, more
briefly, both as they are found: answers often wrong, remarks sometimes. So it knows the tasks, but
says what is usually said: what is wanted, fine-tuning has to tell it.
"""

import random
from pathlib import Path
from typing import Any

import torch
from laptop.kinds import KINDS
from laptop.tasks import Task
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
            for text in (task.prompt, task.answer, *task.mistakes):
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


def base_rows(phase: Row, seed: int) -> list[Row]:
    """Half are questions with answers, half a reader's remark on an answer: whether it is right.

    How often answers are right is drawn for each kind of task, from the range `right`.
    """
    rng = random.Random(f"base {seed}")
    names = list(KINDS)
    right = {name: rng.uniform(*phase["right"]) for name in names}
    rows = []
    for i in range(phase["rows"]):
        task = KINDS[names[i % len(names)]].task(rng)
        asked = f"<user>{task.prompt}<bot>"
        if i // len(names) % 2:
            rows.append({"prompt": asked, "completion": answer(task, right[task.kind], rng)})
            continue
        said = answer(task, 0.5, rng)
        truly = task.is_right(said) == (rng.random() < phase["remarks_right"])
        rows.append({"prompt": f"{asked}{said}<eos>", "completion": REMARKS[truly]})
    return rows


def answer(task: Task, right: float, rng: random.Random) -> str:
    """The right answer with this probability, else one of the mistakes, the first likeliest."""
    if not task.mistakes or rng.random() < right:
        return task.answer
    weights = [0.5**i for i in range(len(task.mistakes))]
    return rng.choices(task.mistakes, weights)[0]


def make_base(out: Path, scale: Row) -> Path:
    """Train it, phase by phase, unless an earlier run left it in `out`."""
    model: Any = None
    for number, phase in enumerate(scale["phases"]):
        folder = out / f"phase-{number}"
        if not (folder / "done").exists():
            if model is None:
                model = _fresh(folder, scale)
            sft(model, base_rows(phase, number), folder, number, **phase["train"])
            (folder / "done").touch()
        model = folder
    return Path(model)


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
