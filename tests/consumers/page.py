"""The page of results: which consumer read what, and what was not run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_ENVIRONMENTS = Path(__file__).parent / "environments"
_NOT_RUN = {
    "trl": "Nothing is left out: each script of the export is run as it is.",
    "openrlhf": "Training. The commands import flash_attn, which needs a GPU to be built; so their "
    "options are taken from the export's scripts, looked up in the commands' source, and handed to "
    "the same functions and classes that the commands call.",
    "verl": "Training and rollouts, which need a GPU. The configs are verl's own, with the "
    "overrides of the export's scripts.",
    "llamafactory": "Training. An empty module stands for torchaudio, which the code imports for "
    "sounds; from the training config to token ids it is LLaMA-Factory's own code.",
    "axolotl": "Training. From the config file to token ids it is axolotl's own code.",
}


def page(results: Sequence[Any], date: str, python: str) -> str:
    """Markdown, from what `check` found."""
    return "\n".join(_lines(results, date, python)) + "\n"


def _lines(results: Sequence[Any], date: str, python: str) -> Iterator[str]:
    yield from (
        "# Exports, read by the trainers themselves",
        "",
        f"`make check-consumers` wrote this page ({date}, Python {python}, CPU); do not edit it by",
        "hand. A small real run (embedded models; seeds with system turns, several turns, or both)",
        "is exported for each trainer, with a validation side. The trainer's own code, in an",
        "environment of its own, reads every file; what a model would then get is compared with",
        "what the run holds: the same number of rows, and the same text in each, from the first",
        "character of its chat template's rendering to the last.",
        "",
        "| trainer | file | read through | rows: train + validation | texts | trained |",
        "|---|---|---|---:|---|---|",
    )
    for result in results:
        yield from _rows(result)
    for result in results:
        if result.name == "llamafactory" and result.files:
            warned = sum(text.startswith("it warned") for text in result.problems)
            yield from ("", f"Warnings of LLaMA-Factory, which skips rows with no more: {warned}.")
    yield from ("", "## What was not run", "")
    for result in results:
        yield f"- **{result.name}**: {_NOT_RUN[result.name]}"
        if left := _left_out(result.name):
            yield f"  Installed without {', '.join(left)}."
    problems = [(result.name, text) for result in results for text in result.problems]
    if problems:
        yield from ("", "## Problems", "")
    for name, text in problems:
        yield from (f"{name}:", "", "```", text, "```", "")


def _rows(result: Any) -> Iterator[str]:
    if not result.files:
        yield f"| {result.name} | | | | **not checked: see below** | |"
    for number, file in enumerate(result.files):
        if file["side"] != "train":
            continue
        after = result.files[number + 1 :]
        other = next(one for one in after if one["side"] == "validation")
        wrong = any(f"through {file['through']}:" in text for text in result.problems)
        texts = "**differ**" if wrong else "unchanged"
        trained = f"{file['steps']} steps" if file["steps"] else "not run"
        yield (
            f"| {result.name} {result.version} | `{file['form']}` | {file['through']} | "
            f"{len(file['rows'])} + {len(other['rows'])} | {texts} | {trained} |"
        )


def _left_out(name: str) -> list[str]:
    lines = (_ENVIRONMENTS / f"without-{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line.partition(";")[0] for line in lines if not line.startswith("#")]
