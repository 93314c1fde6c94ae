"""Which columns of a row hold what: common layouts are recognised by their column names."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MAP_HINT = "map your columns with --column prompt=NAME --column golden=NAME [--column worse=NAME]"


class FieldError(Exception):
    """What is wrong with a row, in one field or altogether; the reader adds the place."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold what; an empty prompt column means that `golden` is a conversation, an
    empty golden one that there are prompts alone."""

    prompt: str
    golden: str
    worse: str = ""
    prompt_extra: str = ""
    """A second part of the prompt (Alpaca's `input`), appended after a blank line."""
    system: str = ""
    """A system turn before the prompt."""

    def __str__(self) -> str:
        parts = [f"prompt ← {self.prompt or self.golden + ' (all turns but the last)'}"]
        if self.prompt_extra:
            parts[0] += f" + {self.prompt_extra}"
        if self.system:
            parts[0] += f" (after {self.system})"
        if self.golden:
            parts.append(f"golden ← {self.golden}")
        if self.worse:
            parts.append(f"worse ← {self.worse}")
        return ", ".join(parts)


UNPAIRED = "completion"
"""A column of responses that may be bad ones: beside it, KTO's `label` says which."""
KNOWN_LAYOUTS = (
    Layout("prompt", "chosen", "rejected"),
    Layout("question", "chosen", "rejected"),
    Layout("question", "response_j", "response_k"),
    Layout("instruction", "chosen", "rejected", prompt_extra="input"),
    Layout("", "chosen", "rejected"),
    Layout("instruction", "output", prompt_extra="input"),
    Layout("", "messages", "rejected"),
    Layout("", "messages"),
    Layout("prompt", "golden", "worse"),
    Layout("prompt", "golden"),
    Layout("prompt", UNPAIRED),
    Layout("prompt", "response"),
    Layout("instruction", "response"),
    Layout("question", "answer"),
)


def find_layout(
    columns: Iterable[str], mapping: dict[Any, str], *, prompts_alone: bool = False
) -> Layout:
    """The layout of these columns; a mapping of the user's own goes before recognition.

    `prompts_alone`: whether rows without a golden response will do. Raises FieldError.
    """
    present = [str(column) for column in columns]
    for field, column in mapping.items():
        if column not in present:
            raise FieldError(
                f"there is no column {column!r} (mapped to {field}); "
                f"the columns are {', '.join(present)}"
            )
    system = "system" if "system" in present else ""
    if "golden" in mapping:
        golden, prompt = mapping["golden"], mapping.get("prompt", "")
        known = (own.worse for own in KNOWN_LAYOUTS if own.golden == golden)
        worse = mapping.get("worse") or next((name for name in known if name in present), "")
        return Layout(prompt, golden, worse, system=system)
    for layout in KNOWN_LAYOUTS:
        if {layout.prompt, layout.golden, layout.worse} - {""} <= set(present):
            extra = layout.prompt_extra if layout.prompt_extra in present else ""
            found = Layout(layout.prompt, layout.golden, layout.worse, extra, system)
            return _override(found, mapping)
    if prompts_alone and (prompt := mapping.get("prompt", "prompt")) in present:
        return Layout(prompt, "", system=system)
    raise FieldError(
        f"no known layout among the columns {', '.join(present) or '(none)'}; {_MAP_HINT}"
    )


def _override(layout: Layout, mapping: dict[Any, str]) -> Layout:
    return Layout(
        mapping.get("prompt", layout.prompt),
        layout.golden,
        mapping.get("worse", layout.worse),
        layout.prompt_extra if "prompt" not in mapping else "",
        layout.system,
    )
