"""What a model would have to get from each form, out of the run's provenance."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from seamaug.records import Message
from seamaug.resources import resource

Texts = tuple[str, ...]
Example = dict[str, Any]
_POLICY = resource("embedded", "policy")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def expected_rows(kind: str, run: Path, ids: Sequence[str]) -> Iterator[Texts]:
    """The texts of the rows of this kind that these examples give, in any order."""
    examples = _examples(run)
    for name in ids:
        yield from _KINDS[kind](examples[name])


def rendered(messages: Sequence[Message], *, ask: bool = False, template: str | None = None) -> str:
    """The conversation as the model's chat template has it; `ask` opens an answer."""
    source = template or (_POLICY / "chat_template.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers has it
    return environment.from_string(source).render(
        messages=messages, add_generation_prompt=ask, eos_token=_eos_token()
    )


@cache
def _eos_token() -> str:
    config = json.loads((_POLICY / "tokenizer_config.json").read_text(encoding="utf-8"))
    return str(config["eos_token"])


@cache
def _examples(run: Path) -> dict[str, Example]:
    rows = pq.read_table(run / "provenance.parquet").to_pylist()
    return {row["id"]: row for row in rows}


def _answered(example: Example, which: str) -> list[Message]:
    return [*example["prompt"], {"role": "assistant", "content": example[which]}]


def _conversation(example: Example) -> Iterator[Texts]:
    yield (rendered(_answered(example, "chosen")),)


def _pair(example: Example) -> Iterator[Texts]:
    yield tuple(rendered(_answered(example, which)) for which in ("chosen", "rejected"))


def _pair_with_margin(example: Example) -> Iterator[Texts]:
    for texts in _pair(example):
        yield (*texts, str(example["mu"]))


def _judged(example: Example, template: str | None = None) -> Iterator[Texts]:
    for which, good in (("chosen", True), ("rejected", False)):
        yield (rendered(_answered(example, which), template=template).rstrip("\n"), str(good))


def _judged_in_chatml(example: Example) -> Iterator[Texts]:
    yield from _judged(example, CHATML)


def _prompt(example: Example) -> Iterator[Texts]:
    yield (rendered(example["prompt"], ask=True),)


def _prompt_with_label(example: Example) -> Iterator[Texts]:
    yield (rendered(example["prompt"], ask=True), example["chosen"])


_KINDS: dict[str, Callable[[Example], Iterator[Texts]]] = {
    "conversation": _conversation,
    "pair": _pair,
    "pair with margin": _pair_with_margin,
    "judged": _judged,
    "judged, in ChatML": _judged_in_chatml,
    "prompt": _prompt,
    "prompt with label": _prompt_with_label,
}
