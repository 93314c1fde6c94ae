"""From a row's columns to prompt, golden response and worse responses.

Common layouts are recognised by their column names; any other is mapped by the user.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from seamaug.log import logger
from seamaug.records import Message, Seed, text_key, user_message

_ROLES = ("system", "user", "assistant", "tool")
_TRANSCRIPT = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
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

    def __str__(self) -> str:
        parts = [f"prompt ← {self.prompt or self.golden + ' (all turns but the last)'}"]
        if self.prompt_extra:
            parts[0] += f" + {self.prompt_extra}"
        if self.golden:
            parts.append(f"golden ← {self.golden}")
        if self.worse:
            parts.append(f"worse ← {self.worse}")
        return ", ".join(parts)


KNOWN_LAYOUTS = (
    Layout("prompt", "chosen", "rejected"),
    Layout("question", "chosen", "rejected"),
    Layout("question", "response_j", "response_k"),
    Layout("", "chosen", "rejected"),
    Layout("instruction", "output", prompt_extra="input"),
    Layout("", "messages"),
    Layout("prompt", "golden", "worse"),
    Layout("prompt", "golden"),
    Layout("prompt", "completion"),
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
    if "golden" in mapping:
        return Layout(mapping.get("prompt", ""), mapping["golden"], mapping.get("worse", ""))
    for layout in KNOWN_LAYOUTS:
        if {layout.prompt, layout.golden, layout.worse} - {""} <= set(present):
            extra = layout.prompt_extra if layout.prompt_extra in present else ""
            found = Layout(layout.prompt, layout.golden, layout.worse, extra)
            return _override(found, mapping)
    if prompts_alone and (prompt := mapping.get("prompt", "prompt")) in present:
        return Layout(prompt, "")
    raise FieldError(
        f"no known layout among the columns {', '.join(present) or '(none)'}; {_MAP_HINT}"
    )


class Layouts:
    """The layout of each row: rows of one file need not have the same columns."""

    def __init__(self, mapping: dict[Any, str], *, prompts_alone: bool = False) -> None:
        self._mapping = mapping
        self._prompts_alone = prompts_alone
        self._known: dict[tuple[str, ...], Layout] = {}
        self._last: Layout | None = None

    def seed(self, row: dict[str, Any], where: str) -> Seed:
        """The row as a Seed; a layout that is new is said aloud."""
        columns = tuple(row)
        if columns not in self._known:
            self._known[columns] = self._layout(row, where)
        self._last = self._known[columns]
        return to_seed(row, self._last, where)

    def _layout(self, row: dict[str, Any], where: str) -> Layout:
        last = self._last
        if last and last.golden in row and not {last.prompt, last.worse} - {""} <= row.keys():
            return last  # a row of the same kind that lacks a field: to_seed says which
        layout = find_layout(row, self._mapping, prompts_alone=self._prompts_alone)
        if layout not in self._known.values():
            logger.info(f"from {where}: {layout}")
        return layout


def _override(layout: Layout, mapping: dict[Any, str]) -> Layout:
    return Layout(
        mapping.get("prompt", layout.prompt),
        layout.golden,
        mapping.get("worse", layout.worse),
        layout.prompt_extra if "prompt" not in mapping else "",
    )


def to_seed(row: dict[str, Any], layout: Layout, where: str) -> Seed:
    """The row as a Seed; raises FieldError on a missing, empty or ill-typed field."""
    golden_turns = _field(row, layout.golden, _conversation) if layout.golden else []
    golden = _last_answer(golden_turns, layout.golden) if layout.golden else ""
    if layout.prompt:
        prompt = _field(row, layout.prompt, _conversation)
        extra = row.get(layout.prompt_extra) if layout.prompt_extra else None
        if isinstance(extra, str) and extra.strip():
            _text(extra, layout.prompt_extra)
            prompt = [
                *prompt[:-1],
                {**prompt[-1], "content": f"{prompt[-1]['content']}\n\n{extra}"},
            ]
    else:
        prompt = golden_turns[:-1]
        if not prompt:
            raise FieldError(
                f"field {layout.golden!r} has one turn only, so there is no prompt; "
                "name the prompt's column with --column prompt=NAME"
            )
    if prompt[-1]["role"] != "user":
        field = layout.prompt or layout.golden
        raise FieldError(f"field {field!r}: the prompt must end in a user turn")
    _text(prompt[-1]["content"], layout.prompt or layout.golden)
    return Seed(
        id=text_key(prompt),
        prompt=prompt,
        golden=golden,
        worse=[text for text in _worse(row, layout.worse) if text.strip() != golden.strip()],
        source=_note(row.get("source") or row.get("set")),
        licence=_note(row.get("licence") or row.get("license")),
        where=where,
    )


def _field(
    row: dict[str, Any], name: str, convert: Callable[[Any, str], list[Message]]
) -> list[Message]:
    if name not in row:
        raise FieldError(f"field {name!r} is missing (the row has {', '.join(row)})")
    return convert(row[name], name)


def _conversation(value: Any, name: str) -> list[Message]:
    """Messages from a string, a `Human: ... Assistant:` transcript, or a list of messages."""
    if isinstance(value, str):
        return _transcript(_text(value, name)) or user_message(value)
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} must be text or a list of messages, not {_kind(value)}")
    if not value:
        raise FieldError(f"field {name!r} is an empty list of messages")
    messages: list[Message] = []
    for number, turn in enumerate(value):
        role = turn.get("role") if isinstance(turn, dict) else None
        if role not in _ROLES or not isinstance(turn.get("content"), str):
            raise FieldError(
                f"field {name!r}, message {number}: expected {{'role': one of "
                f"{', '.join(_ROLES)}, 'content': text}}"
            )
        messages.append({"role": role, "content": _encodable(turn["content"], name)})
    return messages


def _transcript(text: str) -> list[Message]:
    """Turns of a `Human: ...\\n\\nAssistant: ...` transcript; empty if the text is not one."""
    marks = list(_TRANSCRIPT.finditer(text))
    if len(marks) < 2 or marks[0].start() != 0 or marks[0][1] != "Human":
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns: list[Message] = [
        {
            "role": "user" if mark[1] == "Human" else "assistant",
            "content": text[mark.end() : end].strip(),
        }
        for mark, end in zip(marks, ends, strict=True)
    ]
    # A prompt ends in an open `Assistant:`: the turn that the response fills.
    return turns if turns[-1]["content"] else turns[:-1]


def _last_answer(turns: list[Message], name: str) -> str:
    """The response text; a plain string arrives as a single turn."""
    last = turns[-1]
    if len(turns) > 1 and last["role"] != "assistant":
        raise FieldError(f"field {name!r}: the conversation must end in an assistant turn")
    return _text(last["content"], name)


def _worse(row: dict[str, Any], name: str) -> list[str]:
    if not name:
        return []
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [_text(item, name) for item in value]
    return [_last_answer(_field(row, name, _conversation), name)]


def _text(value: str, name: str) -> str:
    if not value.strip():
        raise FieldError(f"field {name!r} is empty; give it text or remove the row")
    return _encodable(value, name)


def _encodable(value: str, name: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FieldError(
            f"field {name!r} holds a lone surrogate, which is not text; repair or remove the row"
        ) from None
    return value


def _note(value: Any) -> str:
    """Source or licence as text: shown to people, never worth refusing a row."""
    return str(value or "").encode("utf-8", "replace").decode("utf-8")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
