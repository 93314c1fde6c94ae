"""Real models with random weights and the bundled tokenizer, written as users' folders are."""

import gzip
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    FNetConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from seamaug.models.engines import FREELY, GeneratorEngine, Leave, Reply, Request
from seamaug.models.load import Loaders
from seamaug.resources import resource

settings.register_profile("untimed", deadline=None)  # tests never assert on time
settings.load_profile("untimed")

HANG = 300
"""Seconds that nothing in the tests takes, on any machine, unless it hangs."""


@pytest.fixture
def must_end() -> Iterator[None]:
    """Turns what would be hours, such as quadratic time in a long text, into a failure."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done in {HANG} s: does time grow faster than the text?")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


CONTEXT = 256
VOCABULARY = 4096
# Large weights: with the usual small ones every text is about as likely as any other, and a model
# that reads the wrong tokens would hardly show.
LLAMA_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GPT2_LIKE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LLAMA_LIKE),
    "qwen2": (Qwen2Config, LLAMA_LIKE),
    "gpt2": (GPT2Config, GPT2_LIKE),
    "gemma2": (
        Gemma2Config,
        {
            **LLAMA_LIKE,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 5.0,
            "attn_logit_softcapping": 5.0,
        },
    ),
    "mistral": (MistralConfig, {**LLAMA_LIKE, "sliding_window": 8}),
    "bert": (
        BertConfig,
        {
            key: value
            for key, value in LLAMA_LIKE.items()
            if key not in ("num_key_value_heads", "bos_token_id", "eos_token_id")
        },
    ),
    "fnet": (
        FNetConfig,
        {
            key: value
            for key, value in LLAMA_LIKE.items()
            if key not in ("num_attention_heads", "num_key_value_heads", "bos_token_id")
        },
    ),
}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(resource("embedded", "policy"))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[..., str]:
    """Folder of a new model: ``saved("llama", "causal")``, with changes to its config."""

    def save(kind: str, head: str, *, tokens: dict[str, Any] | None = None, **changes: Any) -> str:
        config_class, settings = KINDS[kind]
        labels = {} if head == "causal" else {"num_labels": 1}
        auto = AutoModelForCausalLM if head == "causal" else AutoModelForSequenceClassification
        torch.manual_seed(sum(kind.encode()))
        folder = tmp_path_factory.mktemp(f"{kind}-{head}")
        auto.from_config(config_class(**{**settings, **labels, **changes})).save_pretrained(folder)
        own = AutoTokenizer.from_pretrained(resource("embedded", "policy"))
        for name, value in (tokens or {}).items():
            setattr(own, name, value)
        own.save_pretrained(folder)
        if tokens and tokens.get("chat_template", "") is None:
            Path(folder, "chat_template.jinja").unlink(missing_ok=True)
        return str(folder)

    return save


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a model's folder that a test may spoil."""

    def copy(folder: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "model"))

    return copy


@pytest.fixture(scope="session")
def bundled() -> Callable[[int], list[dict[str, Any]]]:
    """So many short bundled seeds, from all over the file."""
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if len(row["prompt"]) + len(row["chosen"]) < 300]
    return lambda count: short[:: len(short) // count][:count]


class ScriptedEngine:
    """A generator that replies as told: for faults, and for what a tiny model never writes."""

    paid = False
    max_length: int | None = None

    def __init__(self, respond: Callable[[Request], Reply | str], *, structured: bool = False):
        self.respond = respond
        self.structured = structured
        self.mark = {"model": "scripted"}
        self.asked: list[Request] = []

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            self.asked.append(request)
            said = self.respond(request)
            yield position, Reply(said) if isinstance(said, str) else said


@pytest.fixture
def scripted() -> type[ScriptedEngine]:
    return ScriptedEngine


@pytest.fixture
def has_writer(monkeypatch: pytest.MonkeyPatch) -> Callable[[GeneratorEngine], None]:
    """Gives runs of this test an LLM that writes."""

    def has(engine: GeneratorEngine) -> None:
        load = partial(Loaders, generator=lambda _: engine)
        monkeypatch.setattr("seamaug.run_models.Loaders", load)

    return has


class Asked:
    """What a request shows and wants, read as an LLM would."""

    def __init__(self, request: Request) -> None:
        content = request.messages[0]["content"]
        self.key = re.search(r"^\[BEGIN [A-Z ]+ ([0-9a-f]{8})\]$", content, re.MULTILINE)[1]  # type: ignore[index]
        found = re.findall(
            rf"^\[BEGIN ([A-Z ]+) {self.key}\]\n(.*?)\n\[END \1 {self.key}\]$",
            content,
            re.MULTILINE | re.DOTALL,
        )
        self.texts = dict(found)
        wanted = request.messages[-1]["content"].rsplit("Reply", 1)[1]
        found = re.findall(rf'<[a-z]+-(\d+)-{self.key}>|"(\d+)": {{', wanted)
        self.numbers = list(dict.fromkeys(a or b for a, b in found))
        self.answers = max(1, len(self.numbers))
        self.schema = request.schema
        self.fields = [
            name
            for name in ("mistake", "request", "response", "better")
            if f"<{name}-" in wanted or f'"{name}"' in wanted
        ]

    def reply(self, **texts: str | list[str]) -> str:
        """These texts by field in the form asked for; a list has one for each answer."""
        rows = [
            {n: t[i] if isinstance(t := texts.get(n, "-"), list) else t for n in self.fields}
            for i in range(self.answers)
        ]
        if self.schema:
            several = dict(zip(self.numbers, rows, strict=False))
            return json.dumps(several or rows[0])
        return "\n".join(
            f"<{n}-{own}>\n{row[n]}\n</{n}-{own}>"
            for number, row in zip(self.numbers or [""], rows, strict=True)
            for own in [f"{number}-{self.key}" if number else self.key]
            for n in row
        )


@pytest.fixture
def asked() -> type[Asked]:
    return Asked


@pytest.fixture(scope="session")
def untrusted() -> list[str]:
    """Texts of seeds that try to be more than text."""
    path = Path(__file__).parent / "data" / "untrusted.jsonl"
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
