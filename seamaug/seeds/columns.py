"""From a row's columns to prompt, golden response and worse responses.

Common layouts are recognised (layouts.py); any other is mapped by the user.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from seamaug.log import logger
from seamaug.records import Message, Seed, text_key, user_message
from seamaug.seeds.layouts import UNPAIRED, FieldError, Layout, find_layout

_ROLES = ("system", "user", "assistant", "tool")
_TRANSCRIPT = re.compile(r"(?:\A|\r?\n\r?\n)(Human|Assistant):")


class Layouts:
    """The layout of each row: rows of one file need not have the same columns."""

    def __init__(self, mapping: dict[Any, str], *, prompts_alone: bool = False) -> None:
        self._mapping = mapping
        self._prompts_alone = prompts_alone
        self._known: dict[tuple[str, ...], Layout] = {}
        self._last: Layout | None = None

    def seed(self, row: dict[str, Any], where: str) -> Seed:
        """The row as a Seed; a layout that is new is said aloud."""
        columns = tuple(name for name, value in row.items() if value is not None)
        if columns not in self._known:
            self._known[columns] = self._layout(row, columns, where)
        self._last = self._known[columns]
        return to_seed(row, self._last, where)

    def _layout(self, row: dict[str, Any], there: Sequence[str], where: str) -> Layout:
        """By the fields that are not null; where these make no layout, by all: to_seed says which
        is null."""
        last = self._last
        if last and last.golden in there and not {last.prompt, last.worse} - {""} <= {*there}:
            return last  # a row of the same kind that lacks a field: to_seed says which
        try:
            layout = find_layout(there, self._mapping, prompts_alone=self._prompts_alone)
        except FieldError:
            layout = find_layout(row, self._mapping, prompts_alone=self._prompts_alone)
        if layout not in self._known.values():
            logger.info(f"from {where}: {layout}")
        return layout


def to_seed(row: dict[str, Any], layout: Layout, where: str) -> Seed:
    """The row as a Seed; raises FieldError on a missing, empty or ill-typed field."""
    golden_turns = _field(row, layout.golden, _conversation) if layout.golden else []
    golden = _last_answer(golden_turns, layout.golden) if layout.golden else ""
    if layout.golden == UNPAIRED and str(row.get("label")).lower() in ("false", "0"):
        raise FieldError(
            "field 'label' says that the response is a bad one, so it cannot be golden; remove the "
            "row, or join the rows of a prompt to one with 'chosen' and 'rejected'"
        )
    stated = _stated_prompt(row, layout)
    prompt = _context(stated, golden_turns, layout.golden)
    if not prompt:
        raise FieldError(
            f"field {layout.golden!r} has one turn only, so there is no prompt; "
            "name the prompt's column with --column prompt=NAME"
        )
    if prompt[-1]["role"] != "user":
        field = layout.prompt or layout.golden
        raise FieldError(f"field {field!r}: the prompt must end in a user turn")
    _text(prompt[-1]["content"], layout.prompt or layout.golden)
    worse = _worse(row, layout.worse, stated, prompt)
    prompt = _after_system(row, layout, prompt)
    return Seed(
        id=text_key(prompt),
        prompt=prompt,
        golden=golden,
        worse=[text for text in worse if text.strip() != golden.strip()],
        source=_note(row.get("source") or row.get("set")),
        licence=_note(row.get("licence") or row.get("license")),
        where=where,
    )


def _stated_prompt(row: dict[str, Any], layout: Layout) -> list[Message]:
    """What the row's own column says; empty where the responses are whole conversations."""
    if not layout.prompt:
        return []
    prompt = _field(row, layout.prompt, _conversation)
    extra = row.get(layout.prompt_extra) if layout.prompt_extra else None
    if isinstance(extra, str) and extra.strip():
        _text(extra, layout.prompt_extra)
        content = f"{prompt[-1]['content']}\n\n{extra}"
        prompt = [*prompt[:-1], {**prompt[-1], "content": content}]
    return prompt


def _after_system(row: dict[str, Any], layout: Layout, prompt: list[Message]) -> list[Message]:
    """With the system turn of the row's own column, where the prompt has none."""
    system = row.get(layout.system) if layout.system else None
    if not isinstance(system, str) or not system.strip() or prompt[0]["role"] == "system":
        return prompt
    return [{"role": "system", "content": _encodable(system, layout.system)}, *prompt]


def _context(stated: list[Message], turns: list[Message], name: str) -> list[Message]:
    """What the last of a response's turns answers: the prompt that is stated, with the earlier
    turns of the response; or these alone, where they begin with a prompt."""
    earlier = turns[:-1]
    if not earlier or not stated:
        return stated or earlier
    if earlier[0]["role"] in ("assistant", "tool"):
        return [*stated, *earlier]
    asked = stated[-1]["content"].strip()
    if not any(turn["role"] == "user" and turn["content"].strip() == asked for turn in earlier):
        raise FieldError(
            f"field {name!r} is a conversation without the prompt of its row; give it the answer "
            "alone, or repair the row"
        )
    if stated[0]["role"] == "system" and earlier[0]["role"] != "system":
        return [stated[0], *earlier]
    return earlier


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
        if turn.get("tool_calls"):
            raise FieldError(
                f"field {name!r}, message {number}: calls of tools cannot be kept; remove the row"
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


def _worse(
    row: dict[str, Any], name: str, stated: list[Message], prompt: list[Message]
) -> list[str]:
    if not name:
        return []
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [_text(item, name) for item in value]
    turns = _field(row, name, _conversation)
    if len(turns) > 1 and not _same(_context(stated, turns, name), prompt):
        raise FieldError(
            f"field {name!r} answers another conversation than the golden response: its earlier "
            "turns differ; repair or remove the row"
        )
    return [_last_answer(turns, name)]


def _same(first: list[Message], second: list[Message]) -> bool:
    """White space around a turn aside."""
    own, other = (
        [(turn["role"], turn["content"].strip()) for turn in turns] for turns in (first, second)
    )
    return own == other


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
